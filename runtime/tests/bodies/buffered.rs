//! The disk without direct I/O, as on a file system that has none.

#[path = "../common/mod.rs"]
mod common;

mod disk;
