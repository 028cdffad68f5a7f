//! That a node leaves no memory behind, on plain threads. Apart from the other: it counts what the process has.

#[path = "memory.rs"]
mod memory;
