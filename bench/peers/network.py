"""Spaces, the cables between them, and on which core the kernel works for whom."""
import contextlib
import subprocess

SPACES = ("client", "proxy", "backend")
# The proxy's end of each cable, the other end, its space, and the addresses of both.
SIDES = (("p0", "c0", "client", "10.9.0.2/24", "10.9.0.1/24"),
         ("p1", "b0", "backend", "10.10.0.2/24", "10.10.0.1/24"))


# Kinds of cables that the proxy makes.
WITHOUT_CABLES = ("tap", "memif")


def run(*command):
    subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL)


def in_space(space, *command):
    return ("ip", "netns", "exec", space, *command)


@contextlib.contextmanager
def spaces():
    for space in SPACES:
        run("ip", "netns", "add", space)
        run(*in_space(space, "ip", "link", "set", "lo", "up"))
    try:
        yield
    finally:
        for space in SPACES:
            run("ip", "netns", "del", space)


def mask(cores):
    return format(sum(1 << core for core in cores), "x")


def steer(space, interface, cores):
    """Makes what arrives on an interface the work of its owner's cores, as a NIC's interrupts would.

    Left alone, a veth makes the sender's core receive as well: the client does a part of the proxy's
    work then, and the proxy a part of the client's.
    """
    path = f"/sys/class/net/{interface}/queues/rx-0/rps_cpus"
    run(*in_space(space, "sh", "-c", f"echo {mask(cores)} > {path}"))


def host(space, interface, address):
    """The kernel's end of a cable."""
    run(*in_space(space, "ip", "addr", "add", address, "dev", interface))
    run(*in_space(space, "ip", "link", "set", interface, "up"))


def packets():
    """What the kernel's ends of both cables have sent and received, large units as one."""
    count = 0
    for _, far, space, _, _ in SIDES:
        names = [f"/sys/class/net/{far}/statistics/{name}_packets" for name in ("rx", "tx")]
        done = subprocess.run(in_space(space, "cat", *names), check=True, timeout=10, capture_output=True, text=True)
        count += sum(map(int, done.stdout.split()))
    return count


class Cables:
    """The two cables of a proxy, of one kind:

    `kernel`: veth pairs with addresses on both ends. `packet`: veth pairs whose proxy's ends have
    none. `tap`: none, until the proxy has made its TAPs, whose kernel's ends `adopt` hands out.
    `memif`: none at all.
    """

    def __init__(self, kind, options):
        self.kind, self.options = kind, options
        if kind in WITHOUT_CABLES:
            return
        for near, far, space, near_address, far_address in SIDES:
            run("ip", "link", "add", near, "netns", "proxy", "type", "veth", "peer", "name", far, "netns", space)
            if kind == "packet":
                # A raw socket is handed frames as they are: whole, and with their checksums.
                run(*in_space(space, "ethtool", "-K", far, "tx", "off"))
                run(*in_space("proxy", "ip", "link", "set", near, "up"))
            else:
                host("proxy", near, near_address)
            self.host(space, far, far_address)
            if options.steer:
                steer("proxy", near, [options.core])

    def host(self, space, far, address):
        host(space, far, address)
        if self.options.steer:
            steer(space, far, self.options.load_cores)

    def adopt(self):
        """Moves the kernel's ends of TAPs to where they belong."""
        for _, far, space, _, far_address in SIDES:
            run(*in_space("proxy", "ip", "link", "set", far, "netns", space))
            self.host(space, far, far_address)

    def take_away(self):
        # TAPs and sockets went with the process that had made them.
        for near, *_ in SIDES if self.kind not in WITHOUT_CABLES else ():
            run(*in_space("proxy", "ip", "link", "del", near))


@contextlib.contextmanager
def cables(kind, options):
    laid = Cables(kind, options)
    try:
        yield laid
    finally:
        laid.take_away()
