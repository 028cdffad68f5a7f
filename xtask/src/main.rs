//! `cargo xtask`: every check of the workspace as one command each.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::run()
}
