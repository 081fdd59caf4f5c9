"""Calls of gRPC by grpc-python, of all four kinds: `calls.py server ADDRESS`, `calls.py client ADDRESS`.

Messages are bytes, without protobuf. The client asserts everything that it is told, and ends with
status 0 and a line when all of it was right.
"""
import sys
import threading
import time
from concurrent import futures

import grpc

SIZES = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
# None of them may be of any other connection's.
CHANNEL = [*SIZES, ("grpc.use_local_subchannel_pool", 1)]
SERVICE = "peers.Calls"


def unary(request, context):
    """Answers with the request; metadata comes back as trailing metadata, and as initial too."""
    kept = [(key, value) for key, value in context.invocation_metadata() if key.startswith("t-")]
    context.send_initial_metadata([*kept, ("server", "python")] if kept else [])
    context.set_trailing_metadata([(f"back-{key[2:]}", value) for key, value in kept])
    if request.startswith(b"sleep "):
        time.sleep(float(request[6:]))
    return request


def fails(request, context):
    code = next(code for code in grpc.StatusCode if code.value[0] == request[0])
    context.set_trailing_metadata([("x-why-bin", bytes(range(256)))])
    context.abort(code, request[1:].decode())


def left(request, context):
    """How many milliseconds the caller has left, by the deadline that came."""
    del request
    return str(int(context.time_remaining() * 1000)).encode()


def counts(request, context):
    del context
    for nth in range(int(request)):
        yield b"%d " % nth * (nth % 50)


def breaks_off(request, context):
    yield from (b"part" for _ in range(int(request)))
    context.abort(grpc.StatusCode.DATA_LOSS, "after some")


def sums(requests, context):
    del context
    return b"%d" % sum(len(request) for request in requests)


def echoes(requests, context):
    del context
    yield from requests


def early(requests, context):
    """An answer to the first message, while the others still come."""
    context.set_trailing_metadata([("x-early", "yes")])
    return next(requests)


GONE = threading.Event()


def waits(requests, context):
    """Until the caller gives up."""
    context.add_callback(GONE.set)
    yield b"waiting"
    for request in requests:
        yield request


def gone(request, context):
    del request, context
    return b"yes" if GONE.wait(10) else b"no"


def serve(address):
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Fails": grpc.unary_unary_rpc_method_handler(fails),
        "Left": grpc.unary_unary_rpc_method_handler(left),
        "Gone": grpc.unary_unary_rpc_method_handler(gone),
        "Counts": grpc.unary_stream_rpc_method_handler(counts),
        "BreaksOff": grpc.unary_stream_rpc_method_handler(breaks_off),
        "Sums": grpc.stream_unary_rpc_method_handler(sums),
        "Early": grpc.stream_unary_rpc_method_handler(early),
        "Echoes": grpc.stream_stream_rpc_method_handler(echoes),
        "Waits": grpc.stream_stream_rpc_method_handler(waits),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=40), options=SIZES)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    assert server.add_insecure_port(address), "the port is taken"
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


class Calls:
    """The client's side of every method."""

    def __init__(self, channel):
        def method(kind, name):
            return getattr(channel, kind)(f"/{SERVICE}/{name}")
        self.unary, self.fails = method("unary_unary", "Unary"), method("unary_unary", "Fails")
        self.left, self.gone = method("unary_unary", "Left"), method("unary_unary", "Gone")
        self.counts = method("unary_stream", "Counts")
        self.breaks_off = method("unary_stream", "BreaksOff")
        self.sums, self.early = method("stream_unary", "Sums"), method("stream_unary", "Early")
        self.echoes, self.waits = method("stream_stream", "Echoes"), method("stream_stream", "Waits")
        self.nowhere = method("unary_unary", "Nowhere")


def failure(call):
    """The error that a call ends with."""
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("it must fail")


def check_messages(calls):
    for size in (0, 1, 5, 16_379, 16_384, 65_535, 65_536, 1 << 20, 8 << 20):
        message = bytes(nth % 251 for nth in range(997)) * (size // 997 + 1)
        assert calls.unary(message[:size], timeout=20) == message[:size], size
    assert list(calls.counts(b"300", timeout=20)) == [b"%d " % nth * (nth % 50) for nth in range(300)]
    assert list(calls.counts(b"0", timeout=20)) == []
    sizes = (0, 1, 100_000, 3_000_000, 7)
    assert calls.sums((b"s" * size for size in sizes), timeout=20) == b"%d" % sum(sizes)
    assert calls.sums(iter(()), timeout=20) == b"0"
    messages = [bytes([nth % 256]) * (nth * 37) for nth in range(400)]
    assert list(calls.echoes(iter(messages), timeout=20)) == messages


def check_turns(calls):
    """Each message waits for the answer to the one before."""
    answered = threading.Semaphore(1)

    def requests():
        for nth in range(50):
            assert answered.acquire(timeout=10)
            yield b"turn %d" % nth
    for nth, answer in enumerate(calls.echoes(requests(), timeout=20)):
        assert answer == b"turn %d" % nth
        answered.release()
    assert nth == 49


def check_metadata(calls):
    raw = bytes(range(256))
    sent = (("t-text", "a, b"), ("t-text", "second"), ("t-raw-bin", raw), ("t-empty", ""), ("t-raw-bin", b""))
    answer, call = calls.unary.with_call(b"m", metadata=sent, timeout=20)
    assert answer == b"m"
    first = [(key, value) for key, value in call.initial_metadata() if key.startswith("t-")]
    assert sorted(first) == sorted(sent), first
    last = [(key, value) for key, value in call.trailing_metadata() if key.startswith("back-")]
    assert sorted(last) == sorted((f"back-{key[2:]}", value) for key, value in sent), last


def check_statuses(calls):
    for code in grpc.StatusCode:
        if code is grpc.StatusCode.OK:
            continue
        for text in ("", "plain", "\t 100 % \u00fcber \u2603 \U0001f600, \r\n"):
            error = failure(lambda: calls.fails(bytes([code.value[0]]) + text.encode(), timeout=20))
            assert (error.code(), error.details()) == (code, text), (code, text, error)
            assert ("x-why-bin", bytes(range(256))) in error.trailing_metadata(), error
    error = failure(lambda: calls.nowhere(b"", timeout=20))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED, error
    # Messages first, then the status in trailers.
    got = []
    error = failure(lambda: got.extend(calls.breaks_off(b"5", timeout=20)))
    assert got == [b"part"] * 5, got
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "after some"), error


def check_deadlines(calls):
    left_ms = int(calls.left(b"", timeout=9))
    # Each hop rounds up what it sends, and works with a time that it looked at a little before.
    assert 7_000 < left_ms < 9_500, left_ms
    begin = time.monotonic()
    error = failure(lambda: calls.unary(b"sleep 40", timeout=0.4))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert time.monotonic() - begin < 20, "it heard of it before the server had slept"


def check_ends(calls):
    answer, call = calls.early.with_call((b"e" * 50_000 for _ in range(200)), timeout=20)
    assert answer == b"e" * 50_000 and ("x-early", "yes") in call.trailing_metadata()
    never = threading.Event()

    def requests():
        yield b"one"
        never.wait(20)
    stream = calls.waits(requests(), timeout=20)
    assert next(stream) == b"waiting" and next(stream) == b"one"
    stream.cancel()
    never.set()
    assert stream.code() is grpc.StatusCode.CANCELLED
    assert calls.gone(b"", timeout=20) == b"yes", "the server hears that its caller gave up"


def check_many(calls):
    """Hundreds at a time on one connection, of all kinds."""
    waiting = [calls.unary.future(b"%d" % nth, timeout=30) for nth in range(400)]
    streams = [calls.counts(b"40", timeout=30) for _ in range(20)]
    for nth, call in enumerate(waiting):
        assert call.result() == b"%d" % nth
    for stream in streams:
        assert len(list(stream)) == 40


def ask(address):
    checks = (check_messages, check_turns, check_metadata, check_statuses, check_deadlines, check_ends, check_many)
    for check in checks:
        with grpc.insecure_channel(address, options=CHANNEL) as channel:
            check(Calls(channel))
        print(check.__name__, "ok", flush=True)
    print("all calls as they should be")


if __name__ == "__main__":
    {"server": serve, "client": ask}[sys.argv[1]](sys.argv[2])
