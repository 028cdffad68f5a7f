//! A store on a real disk. One program: each further one costs the checks its own compiling.

#[path = "../common/mod.rs"]
mod common;

#[path = "bodies.rs"]
mod on_threads;
#[path = "bodies.rs"]
#[allow(clippy::duplicate_mod, reason = "its own name tells it what to run on")]
mod on_uring;
mod operator;
mod statistics;
