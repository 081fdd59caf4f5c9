//! TCP configurations in use, each kept once: a connection names its own by a small number.

use sluice_tcp::Config;

/// How many different ones may be in use at a time: listeners and clusters share most settings.
const CONFIGS_MAX: usize = 1024;
/// IPv4 and TCP headers without options: what separates an MTU from an MSS (RFC 6691).
const HEADERS_MIN: u16 = 40;

#[derive(Debug)]
struct Shared {
    config: Config,
    users: u32,
}

/// The configurations, counted by their users.
#[derive(Debug)]
pub(crate) struct TcpConfigs {
    shared: Vec<Shared>,
    /// Where the last look-up ended: equal ones come in a row.
    last: usize,
}

impl TcpConfigs {
    pub(crate) fn new() -> Self {
        Self { shared: Vec::with_capacity(CONFIGS_MAX), last: 0 }
    }

    /// The number of a configuration, with one more user. None if there are too many different.
    pub(crate) fn acquire(&mut self, config: &Config) -> Option<u16> {
        let is_it = |shared: &Shared| shared.users > 0 && shared.config == *config;
        let at = if self.shared.get(self.last).is_some_and(is_it) {
            self.last
        } else {
            self.find_or_insert(config)?
        };
        self.last = at;
        self.shared[at].users += 1;
        Some(at as u16)
    }

    #[cold]
    fn find_or_insert(&mut self, config: &Config) -> Option<usize> {
        let same = |shared: &Shared| shared.users > 0 && shared.config == *config;
        if let Some(at) = self.shared.iter().position(same) {
            return Some(at);
        }
        let fresh = Shared { config: config.clone(), users: 0 };
        if let Some(at) = self.shared.iter().position(|shared| shared.users == 0) {
            self.shared[at] = fresh;
            return Some(at);
        }
        if self.shared.len() == CONFIGS_MAX {
            return None;
        }
        self.shared.push(fresh);
        Some(self.shared.len() - 1)
    }

    /// One more user of a configuration, or of its like for a link with a smaller MTU.
    #[inline]
    pub(crate) fn acquire_for(&mut self, number: u16, mtu: u16) -> Option<u16> {
        let mss_max = mtu.saturating_sub(HEADERS_MIN);
        let shared = &mut self.shared[usize::from(number)];
        if shared.config.mss <= mss_max {
            shared.users += 1;
            return Some(number);
        }
        let config = Config { mss: mss_max, ..shared.config.clone() };
        self.acquire(&config)
    }

    /// One user less.
    pub(crate) fn release(&mut self, number: u16) {
        let users = &mut self.shared[usize::from(number)].users;
        debug_assert!(*users > 0, "a configuration is released by its users");
        *users = users.saturating_sub(1);
    }

    #[inline]
    pub(crate) fn get(&self, number: u16) -> &Config {
        &self.shared[usize::from(number)].config
    }

    #[cfg(test)]
    pub(crate) fn users(&self) -> u32 {
        self.shared.iter().map(|shared| shared.users).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ones_share_a_number_until_the_last_user_is_gone() {
        let mut configs = TcpConfigs::new();
        let (plain, small) = (Config::default(), Config { mss: 536, ..Config::default() });
        let first = configs.acquire(&plain).expect("room");
        let other = configs.acquire(&small).expect("room");
        assert_eq!(configs.acquire(&plain), Some(first));
        assert_ne!(first, other);
        assert_eq!(configs.acquire_for(other, 576), Some(other));
        assert_eq!(configs.users(), 4);
        configs.release(other);
        configs.release(other);
        let tiny = Config { mss: 100, ..Config::default() };
        assert_eq!(configs.acquire(&tiny), Some(other), "the place is used again");
        assert_eq!(configs.get(other).mss, 100);
        let clamped = configs.acquire_for(first, 1000).expect("room");
        assert_eq!(configs.get(clamped).mss, 960, "40 bytes of headers are not the payload's");
    }
}
