//! The deterministic simulator: hosts, links, faults, one seed.
