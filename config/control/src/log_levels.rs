//! Which messages are written to stderr, and changing it while running.

use std::fmt::{self, Write as _};

/// Puts directives (`info,sluice_config_control::admin=debug`) into force, or says what is wrong.
type Apply = Box<dyn FnMut(&str) -> Result<(), String> + Send>;

/// What an operator may name, and the module that it stands for.
const LOGGERS: [(&str, &str); 6] = [
    ("access_log", "sluice_config_control::access_log"),
    ("admin", "sluice_config_control::admin"),
    ("config", "sluice_config_control::reload"),
    ("control", "sluice_config_control"),
    ("devices", "sluice::devices"),
    ("main", "sluice"),
];

/// Envoy's word, ours.
const LEVELS: [(&str, &str); 8] = [
    ("trace", "trace"),
    ("debug", "debug"),
    ("info", "info"),
    ("warning", "warn"),
    ("warn", "warn"),
    ("error", "error"),
    ("critical", "error"),
    ("off", "off"),
];

/// The levels in force.
pub struct LogLevels {
    /// For everything that has no level of its own: a level, or the directives of the start.
    base: String,
    /// By position in [`LOGGERS`].
    own: [Option<&'static str>; LOGGERS.len()],
    apply: Apply,
}

/// Why levels stay as they are.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum LogLevelError {
    #[error("there is no level `{0}`; there are trace, debug, info, warning, error, critical, off")]
    Level(String),
    #[error("there is no logger `{0}`; there are {names}", names = names())]
    Logger(String),
    #[error("`{0}` is not NAME:LEVEL")]
    Pair(String),
    #[error("the levels cannot be changed: {0}")]
    Apply(String),
}

impl LogLevels {
    /// `directives` are in force already; `apply` puts others into force.
    pub fn new(
        directives: impl Into<String>,
        apply: impl FnMut(&str) -> Result<(), String> + Send + 'static,
    ) -> Self {
        Self { base: directives.into(), own: [None; LOGGERS.len()], apply: Box::new(apply) }
    }

    /// Levels that cannot be changed, for a process that writes no messages.
    #[must_use]
    pub fn fixed() -> Self {
        Self::new("off", |_| Err("this process writes no messages".to_owned()))
    }

    /// Changes all levels at once as Envoy's `/logging` says it: `level=LEVEL` for every logger,
    /// `paths=NAME:LEVEL,...` and `NAME=LEVEL` for some. All of it or nothing.
    pub(crate) fn change<'a>(
        &mut self,
        parameters: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), LogLevelError> {
        let (mut base, mut own) = (self.base.clone(), self.own);
        for (name, value) in parameters {
            match name {
                "level" => {
                    level(value)?.clone_into(&mut base);
                    own = [None; LOGGERS.len()];
                }
                "paths" => {
                    for pair in value.split(',') {
                        let (logger, value) = pair
                            .split_once(':')
                            .ok_or_else(|| LogLevelError::Pair(pair.to_owned()))?;
                        own[position(logger)?] = Some(level(value)?);
                    }
                }
                logger => own[position(logger)?] = Some(level(value)?),
            }
        }
        (self.apply)(&directives(&base, &own)).map_err(LogLevelError::Apply)?;
        (self.base, self.own) = (base, own);
        Ok(())
    }
}

impl fmt::Display for LogLevels {
    /// One logger per line, as Envoy lists them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "active loggers:")?;
        for ((name, _), own) in LOGGERS.iter().zip(self.own) {
            writeln!(f, "  {name}: {}", own.unwrap_or(&self.base))?;
        }
        Ok(())
    }
}

impl fmt::Debug for LogLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogLevels").field(&directives(&self.base, &self.own)).finish()
    }
}

/// The longest module wins, so the order does not matter.
fn directives(base: &str, own: &[Option<&str>; LOGGERS.len()]) -> String {
    let mut text = base.to_owned();
    for ((_, module), own) in LOGGERS.iter().zip(own) {
        if let Some(level) = own {
            write!(text, ",{module}={level}").expect("a String takes everything");
        }
    }
    text
}

fn level(word: &str) -> Result<&'static str, LogLevelError> {
    let found = LEVELS.iter().find(|(envoys, _)| *envoys == word);
    found.map(|(_, ours)| *ours).ok_or_else(|| LogLevelError::Level(word.to_owned()))
}

fn position(logger: &str) -> Result<usize, LogLevelError> {
    let found = LOGGERS.iter().position(|(name, _)| *name == logger);
    found.ok_or_else(|| LogLevelError::Logger(logger.to_owned()))
}

fn names() -> String {
    LOGGERS.map(|(name, _)| name).join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    fn levels() -> (LogLevels, Receiver<String>) {
        let (sender, receiver) = channel();
        let levels = LogLevels::new("info", move |directives| {
            sender.send(directives.to_owned()).map_err(|error| error.to_string())
        });
        (levels, receiver)
    }

    #[test]
    fn one_logger_all_loggers_and_several() {
        let (mut levels, applied) = levels();
        levels.change([("admin", "debug")].into_iter()).expect("a logger");
        assert_eq!(applied.recv().expect("applied"), "info,sluice_config_control::admin=debug");
        assert!(levels.to_string().contains("  admin: debug\n  config: info\n"), "{levels}");
        levels.change([("level", "warning")].into_iter()).expect("a level");
        assert_eq!(applied.recv().expect("applied"), "warn", "every logger means every logger");
        levels.change([("paths", "main:off,devices:critical")].into_iter()).expect("two");
        let now = applied.recv().expect("applied");
        assert_eq!(now, "warn,sluice::devices=error,sluice=off");
    }

    #[test]
    fn a_mistake_changes_nothing() {
        let (mut levels, applied) = levels();
        let before = levels.to_string();
        for (name, value, says) in [
            ("level", "loud", "no level `loud`"),
            ("admni", "debug", "no logger `admni`; there are access_log, admin"),
            ("paths", "admin:debug,config", "`config` is not NAME:LEVEL"),
        ] {
            let error = levels.change([(name, value)].into_iter()).expect_err("a mistake");
            assert!(error.to_string().contains(says), "{error}");
        }
        assert_eq!(levels.to_string(), before);
        assert!(applied.try_recv().is_err(), "nothing was applied");
        let error = LogLevels::fixed().change([("level", "debug")].into_iter());
        assert!(matches!(error, Err(LogLevelError::Apply(_))));
    }
}
