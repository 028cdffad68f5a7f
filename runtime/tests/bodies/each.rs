//! What each body has to show; the name of the module says which it is.

#[path = "../common/mod.rs"]
pub(crate) mod common;

mod calls;
mod disk;
mod net;
mod tasks;
