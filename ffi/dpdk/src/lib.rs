//! Safe Eal, Pool, Port and queues over DPDK; implements Device.
