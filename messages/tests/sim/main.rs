//! Messages over a simulated store.

mod live;
mod simulated;
mod windows;
