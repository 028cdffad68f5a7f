//! The tests of starting, stopping and panicking, on plain threads. Apart from the others: they count what the process has.

#[path = "life.rs"]
mod life;
