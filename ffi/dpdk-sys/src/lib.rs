//! Raw bindings to the installed libdpdk and a small C shim.
