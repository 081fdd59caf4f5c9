//! One TCP connection as a sans-IO machine.
