//! `cargo xtask asan`: the tests of the crates that have `unsafe` code, under AddressSanitizer.
//!
//! It needs a nightly compiler, for the instrumentation; where there is none it is left out with a word. What is not freed at the
//! end is not looked for: `cargo xtask leaks` counts that.

use std::process::Command;

use serde_json::json;

use crate::workspace;

/// Crates with `unsafe` code of their own.
const CRATES: [&str; 2] = ["scrollback-runtime", "scrollback-memtable"];

/// Builds and tests; true if nothing was found.
pub(crate) fn run() -> bool {
    let Some(host) = workspace::nightly_host() else {
        eprintln!(
            "asan: left out, for there is no nightly compiler (rustup toolchain install nightly --profile minimal)"
        );
        println!("{}", json!({"left_out": true}));
        return true;
    };
    let root = workspace::root();
    let ended = Command::new("cargo")
        .args(["+nightly", "test", "--lib", "--tests", "--target", &host])
        .args(CRATES.iter().flat_map(|name| ["-p", name]))
        .current_dir(root)
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .env("CARGO_TARGET_DIR", root.join("target/asan"))
        .status();
    let passed = ended.is_ok_and(|status| status.success());
    println!("{}", json!({"crates": CRATES, "passed": passed}));
    passed
}
