//! Compiled match tables: from a request head to a route.
