//! The tests of connections, on plain threads.

#[path = "net.rs"]
mod net;
