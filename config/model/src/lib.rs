//! Validated configuration with stable ids; nothing compiled.
