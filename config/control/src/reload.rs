//! SIGHUP: a good file is published, a bad one changes nothing and says why.

use std::cell::RefCell;
use std::rc::Rc;

use sluice_config_model::{Config, IdRegistry, Interface, Runtime};
use sluice_config_toml::Style;
use tracing::{error, info, warn};

use crate::state::{Stage, State};

/// What reading the file gave: the configuration and its warnings, or every error, as text.
pub(crate) type Loaded = Result<(Config, Vec<String>), String>;

/// Reads the file on a thread of its own, since a large one takes longer than the log rings last,
/// and puts it into effect here.
pub(crate) fn start(shared: &Rc<RefCell<State>>) {
    let mut state = shared.borrow_mut();
    if let Stage::Draining(_) = state.stage {
        info!("SIGHUP while draining: ignored");
        return;
    }
    if state.reloads.running {
        state.reloads.again = true;
        return;
    }
    state.reloads.running = true;
    let path = state.path.clone();
    let mut registry = state.publisher.lend_registry();
    drop(state);
    let shared = shared.clone();
    tokio::task::spawn_local(async move {
        let read = tokio::task::spawn_blocking(move || {
            let loaded = sluice_config_toml::load_with(&path, &mut registry)
                .map(|(config, warnings)| {
                    let render =
                        |warning: &sluice_config_toml::Warning| warning.render(Style::Plain);
                    (config, warnings.iter().map(render).collect())
                })
                .map_err(|errors| errors.render(Style::Plain));
            (loaded, registry)
        });
        let read = read.await;
        let again = {
            let mut state = shared.borrow_mut();
            state.reloads.running = false;
            match read {
                Ok((loaded, registry)) => state.finish_reload(loaded, registry),
                // The thread did not end by itself: the process is on its way out.
                Err(_) => state.publisher.keep_registry(),
            }
            std::mem::take(&mut state.reloads.again)
        };
        if again {
            start(&shared);
        }
    });
}

impl State {
    /// Puts what was read into effect, or keeps everything as it is.
    pub(crate) fn finish_reload(&mut self, loaded: Loaded, registry: IdRegistry) {
        match self.try_reload(loaded, registry) {
            Ok(version) => {
                info!(
                    "SIGHUP: configuration {version} published: {} listeners, {} clusters",
                    self.config.listeners.len(),
                    self.config.clusters.len()
                );
                self.reloads.accepted += 1;
                self.reloads.last_error = None;
            }
            Err(why) => {
                error!("SIGHUP: the configuration is unchanged: {why}");
                self.publisher.keep_registry();
                self.reloads.rejected += 1;
                self.reloads.last_error = Some(why);
            }
        }
    }

    fn try_reload(&mut self, loaded: Loaded, registry: IdRegistry) -> Result<u64, String> {
        let (config, warnings) =
            loaded.map_err(|errors| format!("the file is not valid:\n{errors}"))?;
        for warning in warnings {
            warn!("{warning}");
        }
        if let Some(what) = needs_restart(&self.config, &config) {
            return Err(format!(
                "[{what}] has changed, which takes a restart; listeners, routes, clusters, \
                 interface.rule, access_log and runtime.drain_timeout are what can change while \
                 running"
            ));
        }
        // Opened before anything is published, so that a bad path keeps the old configuration.
        let log = if self.config.access_log == config.access_log {
            None
        } else {
            let path = config.access_log.as_ref();
            Some(self.log.open_another(path).map_err(|error| error.to_string())?)
        };
        let version = self
            .publisher
            .publish_lent(registry, &config, &self.config, &self.workers)
            .map_err(|error| error.to_string())?;
        self.config = config;
        match log {
            Some(log) => self.log = log,
            // Log rotation: the file was moved away and SIGHUP means "open the path again".
            None => {
                if let Err(error) = self.log.reopen() {
                    warn!("SIGHUP: the access log goes on into the old file: {error}");
                }
            }
        }
        self.log.learn(&self.config);
        Ok(version)
    }
}

/// The section that cannot change while the process runs, if one did.
pub(crate) fn needs_restart(old: &Config, new: &Config) -> Option<&'static str> {
    // How long a drain may take is only looked at when one begins.
    let old_runtime = Runtime { drain_timeout: new.runtime.drain_timeout, ..old.runtime.clone() };
    if old.node != new.node {
        Some("node")
    } else if old_runtime != new.runtime {
        Some("runtime")
    } else if !same_interfaces(&old.interfaces, &new.interfaces) {
        Some("interface")
    } else if old.ip_routes != new.ip_routes {
        Some("ip_route")
    } else if old.admin != new.admin {
        Some("admin")
    } else {
        None
    }
}

/// Whether interfaces differ at most in what travels with a snapshot.
fn same_interfaces(old: &[Interface], new: &[Interface]) -> bool {
    let fixed = |interface: &Interface| Interface { rules: Vec::new(), ..interface.clone() };
    old.len() == new.len()
        && old.iter().zip(new).all(|(old, new)| old == new || fixed(old) == fixed(new))
}

#[cfg(test)]
#[path = "reload_tests.rs"]
mod tests;
