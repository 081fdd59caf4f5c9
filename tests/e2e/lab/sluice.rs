//! Sluice as a process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::client::Client;
use super::command::{Finished, Spawned, wait_until};
use super::namespace::Lab;

/// A Sluice that runs in the test's namespace; killed when dropped before it was stopped.
pub(crate) struct Sluice {
    process: Spawned,
    config: PathBuf,
    dir: PathBuf,
    admin: SocketAddr,
    /// Buffers in use when it was ready.
    buffers_idle: u64,
    buffers_slack: u64,
    ended: bool,
}

/// How long a start may take; EAL and a busy machine included.
const READY_WITHIN_S: u32 = 30;
/// How many more buffers than at the start may be in use when nothing happens. A TAP holds what it
/// did; DPDK's drivers fetch completions late and refill their rings in bursts.
const TAP_SLACK: u64 = 8;
const DPDK_SLACK: u64 = 512;

impl Sluice {
    /// The binary under test.
    pub(crate) fn binary() -> PathBuf {
        std::env::var_os("SLUICE_BIN")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_sluice")), PathBuf::from)
    }

    /// A `sluice` command that ends by itself.
    #[track_caller]
    pub(crate) fn command(lab: &Lab, arguments: &[&str]) -> Finished {
        let binary = Self::binary();
        let mut words = vec![binary.to_str().expect("a path in UTF-8")];
        words.extend_from_slice(arguments);
        lab.run_words(20, &words)
    }

    /// Starts `sluice run` with this configuration and waits until `/ready` says so.
    #[track_caller]
    pub(crate) fn start(lab: &Lab, config: &str) -> Self {
        Self::start_named(lab, "sluice", "run", config)
    }

    /// The same for one of several; `verb` is `run` or `demo`.
    #[track_caller]
    pub(crate) fn start_named(lab: &Lab, name: &str, verb: &str, config: &str) -> Self {
        let mut sluice = Self::spawn(lab, name, verb, config);
        sluice.wait_ready();
        sluice
    }

    /// Starts it and does not wait.
    #[track_caller]
    pub(crate) fn spawn(lab: &Lab, name: &str, verb: &str, config: &str) -> Self {
        let path = lab.write(&format!("{name}.toml"), config);
        let binary = Self::binary();
        // `ip netns exec` becomes Sluice and gives it a /sys of this namespace.
        let words = [
            "ip",
            "netns",
            "exec",
            lab.name(),
            binary.to_str().expect("a path in UTF-8"),
            verb,
            "-c",
            path.to_str().expect("a path in UTF-8"),
        ];
        let dir = lab.path("");
        let mut devices = config.lines().filter(|line| line.starts_with("device"));
        let only_taps = devices.all(|line| line.contains("\"tap:"));
        let buffers_slack = if only_taps { TAP_SLACK } else { DPDK_SLACK };
        let process = Spawned::start(&words, &dir, name);
        Self {
            process,
            dir,
            admin: admin_of(config),
            config: path,
            buffers_idle: 0,
            buffers_slack,
            ended: false,
        }
    }

    /// Waits for 200 on `/ready`; panics with what Sluice said if it ends instead.
    #[track_caller]
    pub(crate) fn wait_ready(&mut self) {
        let end = Instant::now() + Duration::from_secs(READY_WITHIN_S.into());
        loop {
            if let Some(status) = self.process.try_wait() {
                self.ended = true;
                panic!("sluice ended with {status}:\n{}", self.stderr());
            }
            if self.is_ready() {
                break;
            }
            assert!(Instant::now() < end, "not ready after {READY_WITHIN_S} s");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.buffers_idle = self.metrics().sum("sluice_buffers_in_use", &[]);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.try_get("/ready").is_some_and(|(status, _)| status == 200)
    }

    /// A page of the admin address.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> String {
        let (status, body) = self.try_get(path).expect("the admin address answers");
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    fn try_get(&self, path: &str) -> Option<(u16, String)> {
        let mut client = Client::try_connect(self.admin)?;
        client.try_send(format!("GET {path} HTTP/1.1\r\nhost: admin\r\n\r\n").as_bytes())?;
        let response = client.try_response()?;
        Some((response.status, response.text()))
    }

    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics(self.get("/stats/prometheus"))
    }

    /// Waits until a metric, summed over what has these labels, is right.
    #[track_caller]
    pub(crate) fn wait_metric(
        &self,
        name: &str,
        labels: &[&str],
        right: impl Fn(u64) -> bool,
    ) -> u64 {
        let mut value = 0;
        wait_until(15, &format!("the right value of {name}{labels:?}"), || {
            value = self.metrics().sum(name, labels);
            right(value)
        });
        value
    }

    /// The lines of the access log so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.join("access.log")).unwrap_or_default();
        // A line that is being written has no end yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// Waits for the line of a request for this path.
    #[track_caller]
    pub(crate) fn log_of(&self, path: &str) -> Value {
        let mut found = None;
        wait_until(10, &format!("the access log line of {path}"), || {
            found = self.log().into_iter().find(|line| line["path"] == path);
            found.is_some()
        });
        found.expect("it was waited for")
    }

    /// Replaces the configuration file and sends SIGHUP.
    #[track_caller]
    pub(crate) fn reload(&self, config: &str) {
        std::fs::write(&self.config, config).expect("the folder is ours");
        self.process.signal(Signal::HUP);
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn stderr(&self) -> String {
        self.process.stderr()
    }

    pub(crate) fn stdout(&self) -> String {
        self.process.stdout()
    }

    /// Its exit code.
    #[track_caller]
    pub(crate) fn wait(&mut self, seconds: u32) -> i32 {
        let code = self.process.wait(seconds);
        self.ended = true;
        code
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.try_wait().is_some()
    }

    /// Nothing runs any more and nothing leaked: requests, relays and buffers are where they were.
    #[track_caller]
    pub(crate) fn expect_idle(&self) {
        self.wait_metric("sluice_worker_active", &[], |active| active == 0);
        self.wait_metric("envoy_http_downstream_rq_active", &[], |active| active == 0);
        let most = self.buffers_idle + self.buffers_slack;
        self.wait_metric("sluice_buffers_in_use", &[], |in_use| in_use <= most);
    }

    /// SIGTERM when nothing runs: it ends with 0, soon.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.expect_idle();
        self.signal(Signal::TERM);
        assert_eq!(self.wait(8), 0, "the exit status after SIGTERM");
        let stderr = self.stderr();
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

impl Drop for Sluice {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- {}", self.config.display());
            eprintln!("{}", std::fs::read_to_string(&self.config).unwrap_or_default());
            eprintln!("---- stderr\n{}", self.stderr());
            if !self.ended {
                let counters = self.try_get("/stats?usedonly").map(|(_, text)| text);
                eprintln!("---- counters\n{}", counters.unwrap_or_default());
            }
            for line in self.log().iter().rev().take(5).rev() {
                eprintln!("---- access log: {line}");
            }
        }
        self.process.kill();
    }
}

/// The admin address that a configuration says.
fn admin_of(config: &str) -> SocketAddr {
    let section = config.split("[admin]").nth(1).unwrap_or_default();
    let value = section.split("address = \"").nth(1).and_then(|rest| rest.split('"').next());
    value.unwrap_or("127.0.0.1:9901").parse().expect("an address and a port")
}

/// A reading of all counters, in Prometheus's text format.
pub(crate) struct Metrics(String);

impl Metrics {
    /// The sum of a metric over all samples that carry these labels, each as `name="value"`.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        let mut sum = 0.0;
        for line in self.0.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (family, rest) = series.split_once('{').unwrap_or((series, ""));
            if family == name && labels.iter().all(|label| rest.contains(label)) {
                sum += value.parse::<f64>().expect("a number");
            }
        }
        sum as u64
    }
}
