//! The simulator itself.

mod disk;
mod protocol;
mod schedule;
mod turns;
