//! Endpoint sets and load balancers.
