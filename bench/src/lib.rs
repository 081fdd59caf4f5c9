//! Criterion micro benches and whole-path benches over in-memory links.
