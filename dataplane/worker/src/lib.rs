//! One core's heartbeat: poll, budgets, snapshot adoption, counters, idle strategy.
