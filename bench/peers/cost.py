"""What a run took of the processors.

The cost of a proxy is the time of its threads, and of softirqs of its core that hit neither them nor
anybody whom the scheduler charges. Threads are read from `schedstat` (nanoseconds; a softirq that
interrupts a thread is in there). Softirqs of the core are counted by the kernel's tick, and the part
of them that fell outside of the proxy's own time is taken to be as large as that time's share.

Sluice's worker polls, so its thread's time says nothing. It counts the time of the heartbeats that
found something to do; from that is taken what the scheduler gave to others meanwhile.

A veth and a TAP have the sender's core receive as well. So part of what the kernel does for a proxy
on its sockets is done by the client and the backend, and every proxy, Sluice too, pays for what it
sends until it lies in somebody's socket or ring. The time of client and backend is told beside, to
see what went there; `--steer` moves that work to its owner's core, by interrupts between the cores.
"""
import os
import platform
import re
import resource
import subprocess
import time

import network

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def pinned(cores):
    return ("taskset", "-c", ",".join(str(core) for core in cores))


def threads(pid):
    """Nanoseconds on a processor and waiting for one, by name of thread."""
    found = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/comm", encoding="utf-8") as file:
            name = file.read().strip()
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="utf-8") as file:
            ran, waited, _ = map(int, file.read().split())
        found[int(thread)] = (name, ran, waited)
    return found


def system_share(pid):
    """Seconds in the kernel and in all, of all threads, by the kernel's tick."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    user, system = int(fields[11]) * TICK_S, int(fields[12]) * TICK_S
    return system, user + system


def softirq_s(core):
    """Seconds of interrupts and softirqs of a core, by the kernel's tick."""
    with open("/proc/stat", encoding="utf-8") as file:
        fields = next(line for line in file if line.startswith(f"cpu{core} ")).split()
    irq, softirq = fields[6:8]
    return (int(irq) + int(softirq)) * TICK_S


class Reading:
    """Everything that counts, at one time."""

    def __init__(self, running, backend, core):
        # What h2load took, once it has ended.
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.others_s = children.ru_utime + children.ru_stime
        self.others_s += sum(ran for _, ran, _ in threads(backend.pid).values()) / 1e9
        self.at = time.monotonic()
        self.softirq_s = softirq_s(core)
        self.threads = threads(running.pid)
        self.system = system_share(running.pid)
        # Of a proxy that polls: nanoseconds in busy heartbeats, and the share of each stage in them.
        self.polled = running.polled()
        own_packets = self.polled.pop("packets") if self.polled else 0
        self.packets = network.packets() if running.is_on_cables else own_packets


class Sample:
    """What happened between two readings."""

    def __init__(self, before, after, count, rate):
        elapsed_s = after.at - before.at
        self.rate = rate
        own_s, worker_s = 0.0, 0.0
        for thread, (name, ran, _) in after.threads.items():
            ran_s = (ran - before.threads.get(thread, (name, 0, 0))[1]) / 1e9
            if after.polled is not None and name.startswith("worker-"):
                worker_s += ran_s
            else:
                own_s += ran_s
        if after.polled is not None:
            busy_s = (after.polled["busy_ns"] - before.polled["busy_ns"]) / 1e9
            # The clock of heartbeats runs on while the scheduler runs somebody else; it never sleeps.
            busy_s *= min(worker_s / elapsed_s, 1.0)
            cycles = {k: after.polled[k] - before.polled[k] for k in after.polled if k != "busy_ns"}
            kernel_s = busy_s * (cycles["receive"] + cycles["transmit"]) / max(sum(cycles.values()), 1)
            own_s += busy_s
        else:
            system_s, all_s = (late - early for late, early in zip(after.system, before.system))
            kernel_s = own_s * system_s / max(all_s, TICK_S)
        softirq_s = (after.softirq_s - before.softirq_s) * max(1.0 - own_s / elapsed_s, 0.0)
        self.others = (after.others_s - before.others_s) * 1e6 / count
        self.softirq = softirq_s * 1e6 / count
        self.micros = (own_s + softirq_s) * 1e6 / count
        self.kernel = kernel_s * 1e6 / count
        self.own = (own_s - kernel_s) * 1e6 / count
        self.packets = (after.packets - before.packets) / count
        self.share = (own_s + softirq_s) / elapsed_s

    def __str__(self):
        return (f"{self.rate:9.0f} requests/s, {self.micros:6.2f} us each"
                f" (own {self.own:.2f}, kernel {self.kernel:.2f}, softirqs {self.softirq:.2f}),"
                f" {self.packets:.2f} packets, core {self.share:.0%}")


def stages(text):
    """Of Sluice's counters: busy nanoseconds, packets, and cycles by stage."""
    found = {"busy_ns": 0.0, "packets": 0.0}
    for line in text.splitlines():
        series, _, value = line.rpartition(" ")
        stage = re.match(r'sluice_worker_stage_cycles_total\{.*stage="([a-z]+)"', series)
        if series.startswith("sluice_worker_busy_nanoseconds_total"):
            found["busy_ns"] += float(value)
        elif series.startswith("sluice_worker_packets_total"):
            found["packets"] += float(value)
        elif stage:
            found[stage.group(1)] = found.get(stage.group(1), 0.0) + float(value)
    return found


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = (line.split(":")[1].strip() for line in file if line.startswith("model name"))
        model = next(models, "unknown")
    return f"{model}, {os.cpu_count()} processors, Linux {platform.release()}"


def commit():
    done = subprocess.run(["git", "-C", os.path.dirname(__file__), "rev-parse", "--short", "HEAD"],
                          capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.strip() or "unknown"
