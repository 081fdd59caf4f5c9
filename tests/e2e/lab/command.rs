//! Other programs: never without a bound, never left behind.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// `words` under `timeout`.
pub(super) fn bounded(seconds: u32, words: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", &seconds.to_string()]).args(words).stdin(Stdio::null());
    command
}

/// Waits for a condition, or panics with what was waited for.
#[track_caller]
pub(crate) fn wait_until(seconds: u32, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds.into());
    while !condition() {
        assert!(Instant::now() < end, "after {seconds} s still waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A program of `tests/peers`, which `make deps` installs.
#[track_caller]
pub(crate) fn peer(name: &str) -> String {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("peers").join(name);
    assert!(path.exists(), "{} is missing: make deps", path.display());
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// A program that ran to its end.
#[derive(Debug)]
pub(crate) struct Finished {
    what: String,
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    #[track_caller]
    pub(super) fn wait_for(mut command: Command, what: &str) -> Self {
        let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
        Self {
            what: what.to_owned(),
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Its exit status; 124 when its time was over.
    #[track_caller]
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{}: {}", self.what, self.status))
    }

    #[track_caller]
    pub(crate) fn expect_success(self) -> Self {
        assert!(self.status.success(), "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self:#?}");
        self
    }
}

/// A program in the background; ended by its pid when dropped.
#[derive(Debug)]
pub(crate) struct Spawned {
    child: Child,
    what: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Spawned {
    /// Starts it with its output going to `NAME.out` and `NAME.err` in `dir`. It dies with the
    /// thread of the test, should that end without dropping this.
    #[track_caller]
    pub(super) fn start(words: &[&str], dir: &Path, name: &str) -> Self {
        let file = |suffix: &str| dir.join(format!("{name}.{suffix}"));
        let (stdout, stderr) = (file("out"), file("err"));
        let open = |path: &Path| File::create(path).expect("the folder is ours");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(words)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(open(&stdout))
            .stderr(open(&stderr))
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", words.join(" ")));
        Self { child, what: words.join(" "), stdout, stderr }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(id, signal).unwrap_or_else(|error| panic!("{}: {error}", self.what));
    }

    /// Its exit status, if it has ended.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Its exit code, within a bound.
    #[track_caller]
    pub(crate) fn wait(&mut self, seconds: u32) -> i32 {
        let mut status = None;
        wait_until(seconds, &format!("the end of {}", self.what), || {
            status = self.try_wait();
            status.is_some()
        });
        let status = status.expect("it was waited for");
        status.code().unwrap_or_else(|| panic!("{}: {status}\n{}", self.what, self.stderr()))
    }

    pub(crate) fn stdout(&self) -> String {
        read(&self.stdout)
    }

    pub(crate) fn stderr(&self) -> String {
        read(&self.stderr)
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
