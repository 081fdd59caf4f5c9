//! From a TOML file to the model, with errors that point at file, line and column.
