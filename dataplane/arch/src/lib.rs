//! The machine behind safe functions: time-stamp counter, prefetch, thread pinning, mapped memory.
