//! The tests of a store on a real disk, on plain threads.

#[path = "uring_store.rs"]
mod uring_store;
