//! Table files: their bytes, what reading them costs, damage, slices against a model.

#[path = "../common/mod.rs"]
mod common;

mod bytes;
mod cost;
mod epochs;
mod faults;
mod model_slices;
mod scan;
