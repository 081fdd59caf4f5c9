//! A network namespace, entered by the thread of the test, with a folder for its files.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::command::{Finished, Spawned, bounded};

/// A test's own network, gone when it is dropped, by a panic too.
///
/// The thread that makes it lives in it from then on, and so do the sockets, threads and processes
/// that it makes.
pub(crate) struct Lab {
    name: String,
    /// Where the thread came from.
    outside: File,
    dir: tempfile::TempDir,
}

/// The network namespace of the calling thread.
const HERE: &str = "/proc/thread-self/ns/net";

impl Lab {
    pub(crate) fn new() -> Self {
        allow_many_descriptors();
        let outside = File::open(HERE).expect("Linux has namespaces");
        let name = unique_name();
        host(&["ip", "netns", "add", &name]);
        let dir = tempfile::Builder::new().prefix("sluice-e2e-").tempdir().expect("a folder");
        let lab = Self { name, outside, dir };
        let inside = File::open(format!("/run/netns/{}", lab.name)).expect("it was just made");
        enter(&inside);
        lab.run(5, "ip link set lo up").expect_success();
        lab
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A path in the test's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file in the test's folder.
    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, contents).expect("the folder is ours");
        path
    }

    /// Lets other users read, write and run what is in the test's folder.
    pub(crate) fn open_to_all(&self) {
        let dir = self.dir.path().to_str().expect("a path in UTF-8");
        self.run_words(10, &["chmod", "-R", "a+rwX", dir]).expect_success();
    }

    /// Whether this is real root: in a user namespace of its own it has no other user to become.
    pub(crate) fn may_become_nobody(&self) -> bool {
        self.run(5, "setpriv --reuid=65534 --clear-groups -- true").code() == 0
    }

    /// Runs words (no quoting: no word has a blank) in this namespace, for so many seconds at most.
    #[track_caller]
    pub(crate) fn run(&self, seconds: u32, words: &str) -> Finished {
        self.run_words(seconds, &words.split_whitespace().collect::<Vec<_>>())
    }

    /// The same with the words given one by one.
    #[track_caller]
    pub(crate) fn run_words(&self, seconds: u32, words: &[&str]) -> Finished {
        let mut command = bounded(seconds, words);
        command.current_dir(self.dir.path());
        Finished::wait_for(command, &words.join(" "))
    }

    /// Starts words in the background, with its output in `NAME.out` and `NAME.err`.
    #[track_caller]
    pub(crate) fn spawn(&self, name: &str, words: &str) -> Spawned {
        Spawned::start(&words.split_whitespace().collect::<Vec<_>>(), self.dir.path(), name)
    }

    /// `curl`, quiet unless it fails, never longer than 30 seconds.
    #[track_caller]
    pub(crate) fn curl(&self, arguments: &[&str]) -> Finished {
        let mut words = vec!["curl", "-sS", "--max-time", "30"];
        words.extend_from_slice(arguments);
        self.run_words(35, &words)
    }

    /// What `curl` printed; it must have succeeded.
    #[track_caller]
    pub(crate) fn fetch(&self, arguments: &[&str]) -> String {
        self.curl(arguments).expect_success().stdout
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        enter(&self.outside);
        // It lives on until the last socket in it is closed, but nobody finds it any more.
        let _ = bounded(10, &["ip", "netns", "del", &self.name]).status();
    }
}

fn enter(namespace: &File) {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("entering a namespace takes root: run by tests/scripts/netns");
}

fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("e2e-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

#[track_caller]
fn host(words: &[&str]) {
    let command: Command = bounded(10, words);
    Finished::wait_for(command, &words.join(" ")).expect_success();
}

/// Thousands of connections are made from this process and from nginx.
fn allow_many_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum.map_or(65_536, |most| most.min(65_536));
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum })
        .expect("the soft limit may be raised up to the hard one");
}
