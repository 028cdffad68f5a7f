//! `cargo xtask fuzz`: every decoder of bytes from outside, fuzzed by libFuzzer under AddressSanitizer.
//!
//! The targets are in `fuzz/fuzz_targets`, what they start from is in `fuzz/corpus`. It needs a nightly compiler, for the
//! instrumentation, and a C++ compiler, for libFuzzer; where there is none it is left out with a word. Checksums of table files and manifests are compiled out, so that
//! what stands behind them is reached.

use std::path::Path;
use std::process::Command;

use clap::Args;
use serde_json::json;

use crate::workspace;

/// What rustc is told, as cargo-fuzz tells it.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                         -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                         -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Ccodegen-units=1";
/// Inputs are at most so long, bytes.
const LEN_MAX: u32 = 16 << 10;

#[derive(Args)]
pub(crate) struct Options {
    /// Seconds for each target.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Only this target.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
}

/// Fuzzes; true if nothing was found.
#[expect(clippy::disallowed_methods, reason = "a process without shards")]
pub(crate) fn run(options: &Options) -> bool {
    let (Some(host), Some(_)) = (workspace::nightly_host(), workspace::told("c++", &["--version"])) else {
        eprintln!(
            "fuzz: left out, for there is no nightly compiler (rustup toolchain install nightly --profile minimal), or no C++ \
             compiler for libFuzzer"
        );
        println!("{}", json!({"left_out": true}));
        return true;
    };
    let root = workspace::root();
    let fuzz = root.join("fuzz");
    let mut targets = targets(&fuzz);
    if let Some(only) = &options.target {
        if !targets.contains(only) {
            eprintln!("fuzz: there is no target {only}, but {}", targets.join(", "));
            return false;
        }
        targets.retain(|target| target == only);
    }
    let build = Command::new("cargo")
        .args(["+nightly", "build", "--release", "--target", &host])
        .current_dir(&fuzz)
        .env("RUSTFLAGS", RUSTFLAGS)
        .env("CARGO_TARGET_DIR", fuzz.join("target"))
        .status();
    if !build.is_ok_and(|status| status.success()) {
        eprintln!("fuzz: the targets cannot be built");
        return false;
    }
    let mut found = Vec::new();
    for target in &targets {
        let [fresh, artifacts] = ["target/corpus", "artifacts"].map(|of| fuzz.join(of).join(target));
        for dir in [&fresh, &artifacts] {
            if let Err(error) = std::fs::create_dir_all(dir) {
                eprintln!("fuzz: {}: {error}", dir.display());
                return false;
            }
        }
        eprintln!("fuzz: {target}, {} s", options.seconds);
        let ended = Command::new(fuzz.join("target").join(&host).join("release").join(target))
            .arg(format!("-max_total_time={}", options.seconds))
            .arg(format!("-max_len={LEN_MAX}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            // A megabyte is a hundred times what is fed.
            .args([
                "-malloc_limit_mb=64",
                "-timeout=10",
                "-print_final_stats=1",
                "-print_funcs=0",
                "-verbosity=0",
            ])
            .arg(&fresh)
            .arg(fuzz.join("corpus").join(target))
            .status();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!(
                "fuzz: {target} has found something; the input is in {}",
                artifacts.display()
            );
            found.push(target);
        }
    }
    println!(
        "{}",
        json!({"targets": targets.len(), "seconds_each": options.seconds, "found": found})
    );
    found.is_empty()
}

/// Names of the targets, sorted.
#[expect(clippy::disallowed_methods, reason = "a process without shards")]
fn targets(fuzz: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(fuzz.join("fuzz_targets"))
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.sort();
    names
}
