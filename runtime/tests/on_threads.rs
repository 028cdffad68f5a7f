//! The tests of tasks, calls and the disk, on plain threads.

#[path = "calls.rs"]
mod calls;
#[path = "disk.rs"]
mod disk;
#[path = "tasks.rs"]
mod tasks;
