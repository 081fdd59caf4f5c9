"""How each proxy is configured and started, and the backend behind them all.

Everybody at its best: one thread, connections to the backend kept, no access log, limits on
requests per connection lifted; Sluice with all its limits, timeouts and counters as they are.
"""
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import cost
import network

START_S = 30
# Listeners 8001 (h2c, to h2c), 8002 (h2c, to HTTP/1.1), 8003 (HTTP/1.1 to HTTP/1.1); the backend
# speaks HTTP/1.1 on 8081 and h2c on 8082.
ADMIN = "127.0.0.1:9901"
# The one that has no peer on its device, and the sockets of that.
UNPAIRED = "Sluice, memif"
FRONT_SOCKET, BACK_SOCKET = "{folder}/front.sock", "{folder}/back.sock"

BACKEND = """daemon off;
master_process off;
pid {folder}/backend.pid;
error_log {folder}/backend.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/backend-body;
    keepalive_requests 1000000000;
    http2_max_requests 1000000000;
    # More than Envoy opens before it has read how many it may.
    http2_max_concurrent_streams 1024;
    server {{ listen 8081 backlog=4096; location / {{ return 200 "{body}"; }} }}
    server {{ listen 8082 http2 backlog=4096; location / {{ return 200 "{body}"; }} }}
}}
"""

NGINX = """daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    keepalive_requests 1000000000;
    http2_max_requests 1000000000;
    upstream one {{ server 10.10.0.1:8081; keepalive 512; keepalive_requests 1000000000; }}
    server {{ listen 8002 http2; location / {{
        proxy_pass http://one; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
    server {{ listen 8003; location / {{
        proxy_pass http://one; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
}}
"""

HAPROXY = """global
    nbthread 1
    maxconn 4000
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
frontend two-two
    bind 10.9.0.2:8001 proto h2
    default_backend two
frontend two-one
    bind 10.9.0.2:8002 proto h2
    default_backend one
frontend one-one
    bind 10.9.0.2:8003
    default_backend one
backend one
    server one 10.10.0.1:8081
backend two
    server two 10.10.0.1:8082 proto h2
"""

SLUICE = """[runtime]
cores = [{core}]
control_core = {control_core}
idle = "spin"
buffers = 12288
[[interface]]
name = "front"
device = "{front}"
addresses = ["10.9.0.2/24"]
[[interface]]
name = "back"
device = "{back}"
addresses = ["10.10.0.2/24"]
{listeners}
[[cluster]]
name = "one"
endpoints = ["10.10.0.1:8081"]
[[cluster]]
name = "two"
http = "2"
endpoints = ["10.10.0.1:8082"]
"""

SLUICE_LISTENER = """[[listener]]
name = "{name}"
address = "10.9.0.2:{port}"
[[listener.virtual_host]]
domains = ["*"]
[[listener.virtual_host.route]]
prefix = "/"
cluster = "{cluster}"
"""

ENVOY = """static_resources:
  listeners: [{listeners}]
  clusters:
    - {{ name: one, type: STATIC, circuit_breakers: {breakers}, load_assignment: {one} }}
    - {{ name: two, type: STATIC, circuit_breakers: {breakers}, load_assignment: {two},
        typed_extension_protocol_options: {{ envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions,
          explicit_http_config: {{ http2_protocol_options: {{}} }} }} }} }}
"""

ENVOY_BREAKERS = "{ thresholds: [ { max_connections: 10000, max_pending_requests: 10000, max_requests: 10000 } ] }"

ENVOY_LISTENER = """{{ name: l{port}, address: {{ socket_address: {{ address: 10.9.0.2, port_value: {port} }} }},
      filter_chains: [{{ filters: [{{ name: hcm, typed_config: {{
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
        stat_prefix: l{port}, codec_type: {codec}, generate_request_id: false,
        route_config: {{ virtual_hosts: [{{ name: all, domains: ["*"],
          routes: [{{ match: {{ prefix: "/" }}, route: {{ cluster: {cluster} }} }}] }}] }},
        http_filters: [{{ name: router, typed_config: {{
          "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }} }}] }} }}] }}] }}"""


def envoy_assignment(name, port):
    return (f"{{ cluster_name: {name}, endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {{ "
            f"socket_address: {{ address: 10.10.0.1, port_value: {port} }} }} }} }} ] }} ] }}")


def generator(options):
    """Sluice's own client and backend: beside it."""
    return os.path.join(os.path.dirname(options.sluice), "sluice-pktgen")


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def listens(space, port):
    """Whether somebody in a space listens on a port."""
    done = subprocess.run(network.in_space(space, "ss", "-Htln", f"sport = :{port}"),
                          capture_output=True, text=True, timeout=10, check=True)
    return bool(done.stdout.strip())


def wait(process, log, what, condition):
    end = time.monotonic() + START_S
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            log.seek(0)
            sys.exit(f"{what} does not start:\n{log.read()}")
        time.sleep(0.05)


def end(process):
    """What was started here, and nothing else."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=10)


class Running:
    """A proxy at work."""

    def __init__(self, process, polled, is_on_cables=True):
        # `ip netns exec` and `taskset` become the program: its pid is theirs.
        self.pid, self.polled, self.is_on_cables = process.pid, polled, is_on_cables


class Kernel:
    """A proxy on the kernel's sockets."""

    cable = "kernel"

    def __init__(self, name, program, words, config, cannot=()):
        self.cannot = cannot
        self.name, self.program, self.words, self.config = name, program, words, config
        self.file = f"{program}.yaml" if program == "envoy" else f"{program}.conf"

    def binary(self, options):
        del options
        return shutil.which(self.program, path=os.environ["PATH"] + ":/usr/sbin")

    def is_there(self, options):
        return self.binary(options) is not None

    @contextlib.contextmanager
    def started(self, cables, options, folder):
        del cables
        path = write(folder, self.file, self.config(folder))
        words = [word.format(path=path, folder=folder) for word in self.words]
        command = network.in_space("proxy", *cost.pinned([options.core]), self.binary(options), *words)
        with open(os.path.join(folder, f"{self.program}.err"), "w+", encoding="utf-8") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                wait(process, log, self.name, lambda: listens("proxy", 8003))
                yield Running(process, lambda: None)
            finally:
                end(process)


class Envoy(Kernel):
    """Envoy: its binary comes in a Python package."""

    def __init__(self):
        words = ["-c", "{path}", "--concurrency", "1", "-l", "warn", "--disable-hot-restart"]
        super().__init__("Envoy", "envoy", words, self.yaml)

    def binary(self, options):
        # What the package installs is a script that becomes the binary.
        return options.envoy

    @staticmethod
    def yaml(folder):
        del folder
        rows = ((8001, "HTTP2", "two"), (8002, "HTTP2", "one"), (8003, "HTTP1", "one"))
        listeners = [ENVOY_LISTENER.format(port=port, codec=codec, cluster=cluster) for port, codec, cluster in rows]
        return ENVOY.format(listeners=",\n    ".join(listeners), breakers=ENVOY_BREAKERS,
                            one=envoy_assignment("one", 8081), two=envoy_assignment("two", 8082))


class Sluice:
    """Sluice on one kind of device, whose names may have the run's `{folder}` in them."""

    cannot = ()

    def __init__(self, name, cable, front, back):
        self.name, self.cable, self.front, self.back = name, cable, front, back

    def is_there(self, options):
        needed = [options.sluice] + [generator(options)] * (self.cable == "memif")
        return all(os.access(path, os.X_OK) for path in needed)

    @contextlib.contextmanager
    def started(self, cables, options, folder):
        rows = ((8001, "two"), (8002, "one"), (8003, "one"))
        listeners = [SLUICE_LISTENER.format(name=f"l{port}", port=port, cluster=cluster) for port, cluster in rows]
        path = write(folder, "sluice.toml", SLUICE.format(
            core=options.core, control_core=options.load_cores[0], front=self.front.format(folder=folder),
            back=self.back.format(folder=folder), listeners="".join(listeners)))
        with open(os.path.join(folder, "sluice.err"), "w+", encoding="utf-8") as log:
            command = network.in_space("proxy", options.sluice, "run", "-c", path)
            process = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                if cables.kind == "tap":
                    wait(process, log, self.name, lambda: all(
                        subprocess.run(network.in_space("proxy", "ip", "link", "show", name), timeout=10,
                                       capture_output=True, check=False).returncode == 0
                        for name in ("c0", "b0")))
                    cables.adopt()
                wait(process, log, self.name, self.is_ready)
                yield Running(process, self.polled, self.cable != "memif")
            finally:
                end(process)

    @staticmethod
    def is_ready():
        done = subprocess.run(network.in_space("proxy", "curl", "-sf", "-m", "2", f"http://{ADMIN}/ready"),
                              capture_output=True, timeout=10, check=False)
        return done.returncode == 0

    @staticmethod
    def polled():
        done = subprocess.run(network.in_space("proxy", "curl", "-sf", "-m", "5", f"http://{ADMIN}/stats/prometheus"),
                              capture_output=True, text=True, timeout=10, check=True)
        return cost.stages(done.stdout)


@contextlib.contextmanager
def backend(options, folder):
    """nginx in the backend's space, for everybody."""
    path = write(folder, "backend.conf", BACKEND.format(folder=folder, body="x" * 128))
    command = network.in_space("backend", *cost.pinned(options.load_cores), "nginx", "-c", path, "-p", folder,
                               "-e", os.path.join(folder, "backend.log"))
    with open(os.path.join(folder, "backend.err"), "w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait(process, log, "the backend", lambda: listens("backend", 8082))
            yield process
        finally:
            end(process)


def versions(options):
    """What ran, by its own word."""
    said = {}
    for name, command in (("HAProxy", ["haproxy", "-v"]), ("nginx", ["nginx", "-v"]),
                          ("Envoy", [options.envoy or "envoy", "--version"]), ("h2load", ["h2load", "--version"])):
        program = shutil.which(command[0], path=os.environ["PATH"] + ":/usr/sbin")
        if program is None:
            continue
        done = subprocess.run([program, *command[1:]], capture_output=True, text=True, timeout=20, check=False)
        numbers = [word for word in (done.stdout + done.stderr).replace("/", " ").split() if word[:1].isdigit()
                   or word[:1] == "v"]
        version = next((word for word in numbers if word.count(".") >= 2), "?")
        said[name] = version.split("-")[0]
    return said


ALL = (
    Kernel("HAProxy", "haproxy", ["-db", "-f", "{path}"], lambda _: HAPROXY),
    Sluice("Sluice, af_packet", "packet", "af_packet:p0", "af_packet:p1"),
    Sluice("Sluice, af_xdp", "packet", "af_xdp:p0", "af_xdp:p1"),
    Sluice("Sluice, tap", "tap", "tap:c0", "tap:b0"),
    # No kernel's end: client and backend are the generator's.
    Sluice(UNPAIRED, "memif", f"memif:{FRONT_SOCKET}", f"memif:{BACK_SOCKET}"),
    Envoy(),
    Kernel("nginx", "nginx", ["-c", "{path}", "-p", "{folder}", "-e", "{folder}/nginx.log"],
           lambda folder: NGINX.format(folder=folder), cannot=["h2c to h2c"]),
)
