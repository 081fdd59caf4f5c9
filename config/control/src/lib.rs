//! The control thread: admin API, reload, access log, publishing snapshots.
