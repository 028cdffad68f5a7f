//! The log on the simulated disk.

#[path = "../common/world.rs"]
mod world;

mod crash_points;
mod faults;
mod log;
