//! What connections cost, on plain threads. Apart from the other: it counts what the process has.

#[path = "net_limits.rs"]
mod net_limits;
