//! Many connections: L2 and L3 in and out, neighbours, FIB, flow table, listeners, ports, timers.
