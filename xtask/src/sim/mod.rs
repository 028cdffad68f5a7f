//! `cargo xtask sim`: whole histories of a store, drawn from seeds, judged by a simple model.
//!
//! - `data`, `plan`: what the clients write and read, drawn from the seed.
//! - `oracle`: the model, a naive map of cells.
//! - `truth`: what must hold, and the judge.
//! - `node`: what is asked of a store; `run`: the course of one seed.

mod data;
mod node;
mod oracle;
mod plan;
mod run;
#[cfg(test)]
mod toy;
mod truth;
