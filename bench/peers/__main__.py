"""What a proxied request costs, with Sluice and with the proxies that others use, side by side.

    h2load ── c0 ─── p0 ── PROXY ── p1 ─── b0 ── nginx
    space `client`      space `proxy`      space `backend`

One proxy after the other, then all of them again (A-B-A-B), between the same client and the same
backend. The proxy has a core of its own; client and backend share the others. Kernel proxies, and
Sluice on `af_packet` and `af_xdp`, sit between the same two veth pairs; Sluice on `tap` has a TAP on
either side. A memif has no kernel at its other end: there `sluice-pktgen` is client and backend, and
what comes of it is not paired with anybody's.

    network.py   spaces, cables, and on which core the kernel works for whom
    proxies.py   how each proxy is configured and started
    cost.py      what a run took of the processors

What counts is everything on the proxy's side, the kernel's work included: see `cost.py`. Everything
lives in namespaces that end with the run; `make peers` installs what it needs and runs this:

    tests/scripts/netns python3 bench/peers target/ci/sluice
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import cost
import network
import proxies

SCENARIOS = {
    # Name: port of the proxy, h2load's words for the protocol and its concurrency, and the same for
    # sluice-pktgen, whose connections of HTTP/2 have 16 calls in flight too.
    "h2c to h2c": (8001, ["-c", "16", "-m", "16"], "--protocol http2 --connections 16 --origin-port 8082"),
    "h2c to HTTP/1.1": (8002, ["-c", "16", "-m", "16"],
                        "--protocol http2 --connections 16 --origin-protocol http1 --origin-port 8081"),
    "HTTP/1.1 to HTTP/1.1": (8003, ["--h1", "-c", "64", "-m", "1"], "--connections 64 --origin-port 8081"),
}
BODY_BYTES = 128
WARM_UP_REQUESTS = 10_000
WARM_UP_SECONDS = 0.5
EXPLANATION = """Medians. `core us` is everything on the proxy's side: its threads (of Sluice's worker, which polls, the heartbeats
that found something to do) and softirqs of its core that hit neither. `kernel` is what the threads spend in system
calls, with TCP and sockets; of Sluice its receive and transmit stages, which are the driver and what the kernel does
for it. `own` is the rest, with Sluice's TCP. `packets` are those of a request on both cables, both ways. `core` is
how busy that made the proxy's core. `client and backend` do a part of the kernel's work for proxies on its sockets:
what is sent is received by the sender's core (`bench/peers/cost.py`). The last column is the median of the rounds'
ratios. On `memif` there is no kernel: client and backend are Sluice's own, on one core, and `kernel` is the driver."""
BEGIN, END = "<!-- make peers: begin -->", "<!-- make peers: end -->"


def load(port, words, count, options, folder):
    """`count` requests; requests per second, or none with the reason when some failed."""
    body = os.path.join(folder, "body")
    words = ["h2load", "-n", str(count), *words, "-d", body, f"http://10.9.0.2:{port}/"]
    command = network.in_space("client", *cost.pinned(options.load_cores), *words)
    done = subprocess.run(command, capture_output=True, text=True, timeout=options.limit)
    rate = re.search(r"finished in [^,]*, ([0-9.]+) req/s", done.stdout)
    if f"{count} succeeded, 0 failed, 0 errored" not in done.stdout or rate is None:
        return None, done.stdout + done.stderr
    if f"status codes: {count} 2xx" not in done.stdout:
        return None, done.stdout
    return float(rate.group(1)), None


def generate(port, words, seconds, options, folder):
    """Sluice's own client and backend for so long: requests, and how many per second."""
    command = [proxies.generator(options), "--json", "--core", str(options.load_cores[0]), "--warm-up", "0",
               "--duration", str(seconds), "--to", f"10.9.0.2:{port}",
               "--device", f"memif:{proxies.FRONT_SOCKET}".format(folder=folder), "--address", "10.9.0.1/24",
               "--origin-device", f"memif:{proxies.BACK_SOCKET}".format(folder=folder),
               "--origin-address", "10.10.0.1/24", *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=options.limit, check=False)
    if done.returncode != 0:
        return 0, None, done.stdout + done.stderr
    said = json.loads(done.stdout)
    return said["requests"], said["per_second"], None


def ask(proxy, scenario, count, options, folder):
    """About `count` requests, or as many as pass in a moment: how many it were, their rate, and the fault."""
    port, words, own_words = SCENARIOS[scenario]
    if proxy.name == proxies.UNPAIRED:
        seconds = options.seconds if count is not None else WARM_UP_SECONDS
        return generate(port, own_words, seconds, options, folder)
    count = count or WARM_UP_REQUESTS
    return count, *load(port, words, count, options, folder)


def play(proxy, backend, options, folder):
    """Every scenario once through a fresh instance of `proxy`: samples by scenario."""
    samples = {}
    with network.cables(proxy.cable, options) as cables, proxy.started(cables, options, folder) as running:
        for name in SCENARIOS:
            if name not in options.scenarios or name in proxy.cannot:
                continue
            _, rate, fault = ask(proxy, name, None, options, folder)
            if fault is None:
                # As many as take the wanted time, so that a slow proxy does not take for ever.
                count = max(int(rate * options.seconds), WARM_UP_REQUESTS)
                before = cost.Reading(running, backend, options.core)
                count, rate, fault = ask(proxy, name, count, options, folder)
                after = cost.Reading(running, backend, options.core)
            if fault is not None:
                print(f"  {proxy.name}, {name}: failed\n{fault}", file=sys.stderr)
                raise SystemExit(1)
            samples[name] = cost.Sample(before, after, count, rate)
            print(f"  {proxy.name:18} {name:22} {samples[name]}", flush=True)
    return samples


def table(results, names, against):
    """Markdown: medians of all rounds."""
    columns = ["proxy", "requests/s", "core us per request (least .. greatest)", "own", "kernel", "softirqs",
               "packets", "core", "client and backend us", f"to {against}"]
    lines = []
    for scenario in SCENARIOS:
        if not any(scenario in samples for rounds in results.values() for samples in rounds):
            continue
        lines += [f"**{scenario}**", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        base = statistics.median(r[scenario].micros for r in results[against]) if against in results else None
        for name in names:
            if not all(scenario in samples for samples in results[name]):
                continue
            of = [r[scenario] for r in results[name]]
            middle = statistics.median(s.micros for s in of)
            # The pairs of one round are closer in time than the medians of all.
            ratio = "unpaired" if name == proxies.UNPAIRED else "" if base is None else "%.2f" % statistics.median(
                mine[scenario].micros / theirs[scenario].micros
                for mine, theirs in zip(results[name], results[against]))
            lines.append("| %s | %s | %.1f (%.1f .. %.1f) | %.1f | %.1f | %.1f | %.2f | %d %% | %.1f | %s |" % (
                name, format(round(statistics.median(s.rate for s in of)), ","), middle,
                min(s.micros for s in of), max(s.micros for s in of),
                *(statistics.median(getattr(s, part) for s in of) for part in ("own", "kernel", "softirq")),
                statistics.median(s.packets for s in of),
                round(statistics.median(s.share for s in of) * 100),
                statistics.median(s.others for s in of), ratio))
        lines.append("")
    return "\n".join(lines)


def report(results, names, options):
    versions = ", ".join(f"{name} {version}" for name, version in proxies.versions(options).items())
    load_average = ", ".join("%.1f" % value for value in os.getloadavg())
    head = [
        f"{cost.machine()}; load average {load_average} at the end; commit {cost.commit()}.", f"{versions}.", "",
        f"`make peers`: {options.rounds} rounds of {options.seconds:g} s, the proxies in turn; {BODY_BYTES} bytes",
        "both ways; h2load with 16 connections of 16 streams, or 64 connections of HTTP/1.1; nginx behind.", "",
        *EXPLANATION.split("\n"), "", "",
    ]
    return "\n".join(head) + table(results, names, "HAProxy")


def record(text):
    """Puts the tables between the marks of RESULTS.md."""
    path = os.path.join(os.path.dirname(__file__), "..", "RESULTS.md")
    with open(path, encoding="utf-8") as file:
        old = file.read()
    before, rest = old.split(BEGIN)
    after = rest.split(END)[1]
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n{text.rstrip()}\n{END}{after}")


def main():
    parser = argparse.ArgumentParser(prog="peers", usage="peers [options] SLUICE")
    parser.add_argument("sluice")
    parser.add_argument("--envoy", help="its binary (default: beside Sluice's target, in peers/)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each scenario in each round")
    parser.add_argument("--core", type=int, default=max(os.cpu_count() - 1, 0), help="the proxy's")
    parser.add_argument("--limit", type=float, default=120, help="seconds that any load may take")
    parser.add_argument("--only", action="append", help="a proxy; may be given several times")
    parser.add_argument("--scenario", action="append", dest="scenarios", choices=SCENARIOS)
    parser.add_argument("--steer", action="store_true", help="have the receiver's core receive")
    parser.add_argument("--output", help="a file for the tables, in Markdown")
    parser.add_argument("--record", action="store_true", help="write them into bench/RESULTS.md")
    options = parser.parse_args()
    options.scenarios = options.scenarios or list(SCENARIOS)
    options.sluice = os.path.abspath(options.sluice)
    peers = os.path.join(os.path.dirname(os.path.dirname(options.sluice)), "peers")
    options.envoy = options.envoy or shutil.which("envoy", path=os.path.join(peers, "python/bin"))
    options.load_cores = [core for core in range(os.cpu_count()) if core != options.core] or [options.core]
    chosen = [proxy for proxy in proxies.ALL if not options.only or proxy.name in options.only]
    missing = [proxy.name for proxy in chosen if not proxy.is_there(options)]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}; make deps")
    names = [proxy.name for proxy in chosen]
    results = {name: [] for name in names}
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        with open(os.path.join(folder, "body"), "wb") as file:
            file.write(b"x" * BODY_BYTES)
        with network.spaces(), proxies.backend(options, folder) as backend:
            for nth in range(options.rounds):
                print(f"round {nth + 1} of {options.rounds}", flush=True)
                # Back and forth, so that what drifts hits all alike.
                for proxy in chosen if nth % 2 == 0 else reversed(chosen):
                    results[proxy.name].append(play(proxy, backend, options, folder))
    text = report(results, names, options)
    print(f"\n{text}\n{time.monotonic() - begin:.0f} s")
    if options.output:
        with open(options.output, "w", encoding="utf-8") as file:
            file.write(text)
    if options.record:
        record(text)


if __name__ == "__main__":
    main()
