//! `cargo xtask sim`: whole histories of a store, drawn from seeds, judged by a simple model.
//!
//! - `data`, `plan`: what the clients write and read, drawn from the seed.
//! - `layout`: what a table is, and how it is altered.
//! - `oracle`: the model, a naive map of cells.
//! - `truth`: what must hold, and the judge.
//! - `node`: what is asked of a store; `run`: the course of one seed.
//! - `convert`, `engine`: the engine and the simulated machine, as the harness needs them.
//! - `command`, `crash_points` with its `script`: the commands.

pub(crate) mod command;
mod convert;
pub(crate) mod crash_points;
mod data;
mod engine;
mod layout;
mod node;
mod oracle;
mod plan;
pub(crate) mod pool;
pub(crate) mod run;
mod script;
#[cfg(test)]
mod toy;
mod truth;
