//! The filter trait, the chain, and the stock filters.
