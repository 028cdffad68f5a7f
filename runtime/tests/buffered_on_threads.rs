//! The tests of the disk, on plain threads and without direct I/O, as on a file system that has none.

#[path = "disk.rs"]
mod disk;
