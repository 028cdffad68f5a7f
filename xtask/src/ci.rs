//! `cargo xtask ci`: every check, in order; the first that fails ends it.
//!
//! What is compiled, and how often: everything in the `checked` profile, so that macros and build scripts are built once. The lints and the
//! documentation share the metadata of libraries. The tests have the deliberate breaks compiled in (and off), which is how this very
//! program was built: with the same features ([`FEATURES`]), they share its libraries.

use std::io::{self, BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::clock::Stopwatch;
use crate::workspace::FEATURES;
use crate::{arrows, workspace};

/// What a stage counted; a check that is no `#[test]` counts as one.
#[derive(Clone, Copy, Default)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    const ONE: Self = Self {
        passed: 1,
        failed: 0,
        ignored: 0,
    };
}

/// A stage failed: what it counted until then, and one sentence.
struct Failed {
    counts: Counts,
    why: String,
}

type Stage = (&'static str, fn() -> Result<Counts, Failed>);

const STAGES: &[Stage] = &[
    ("format", || cargo(&["fmt", "--all", "--check"])),
    ("clippy", || {
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--profile",
            "checked",
            "--",
            "-D",
            "warnings",
        ])
    }),
    ("clippy with breaks", || {
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--profile",
            "checked",
            "--features",
            FEATURES,
            "--",
            "-D",
            "warnings",
        ])
    }),
    ("docs", || {
        cargo(&["doc", "--workspace", "--no-deps", "--profile", "checked"])
    }),
    ("arrows", crate_arrows),
    ("tests", tests),
    // With the breaks compiled in, as this program is built.
    ("histories", || command(&["sim", "--seeds", "0..2000"])),
    ("deliberate breaks", || {
        command(&["sim", "--each-break", "--seeds", "0..2000"])
    }),
    ("chat histories", || command(&["sim-chat", "--seeds", "0..300"])),
    ("cql histories", || command(&["sim-cql", "--seeds", "0..500"])),
    ("crash points", || command(&["crash-points"])),
    ("round trip", || command(&["roundtrip", "--kills", "1"])),
    // About a minute each.
    ("kill -9", || command(&["kill9", "--rounds", "20", "--lines", "120000"])),
    ("chat, compacted and killed", || {
        command(&["chat-compaction", "--messages", "40000", "--kills", "4"])
    }),
    ("kill -9 under CQL", || command(&["kill9-cql", "--rounds", "5"])),
    // Long enough to meet the time that a session has to begin.
    ("crowd", || {
        command(&["crowd-cql", "--idle", "500", "--busy", "100", "--seconds", "15"])
    }),
    ("drivers", || command(&["drivers", "--only", "python,rust,node"])),
    ("bit flips", || command(&["bitflip"])),
    ("leaks", || command(&["leaks", "--rounds", "200", "--cycles", "10"])),
    // Minutes of building, where there is a nightly compiler; 20 s each are a command of their own.
    (LEFT_OUT_WHEN_LATE, || command(&["fuzz", "--seconds", "5"])),
];

/// The stage that the checks go without if they would take longer than 25 minutes.
const LEFT_OUT_WHEN_LATE: &str = "fuzz";
/// When it is too late for it, on a machine as slow as they have been so far.
const LATE: std::time::Duration = std::time::Duration::from_secs(18 * 60);

/// Runs all stages and prints one line of counts; true if all passed.
pub(crate) fn run() -> bool {
    let whole = Stopwatch::start();
    let mut sum = Counts::default();
    let mut seconds = serde_json::Map::new();
    let mut failed_at = None;
    for (nth, (name, stage)) in STAGES.iter().enumerate() {
        println!("==> [{}/{}] {name}", nth + 1, STAGES.len());
        if *name == LEFT_OUT_WHEN_LATE && whole.elapsed() > LATE {
            println!(
                "<== [{}/{}] {name}: left out, the checks have taken {:.0} minutes; run `cargo xtask fuzz`",
                nth + 1,
                STAGES.len(),
                whole.elapsed().as_secs_f64() / 60.0
            );
            continue;
        }
        let clock = Stopwatch::start();
        let result = stage();
        let took = clock.elapsed();
        let (counts, why) = match result {
            Ok(counts) => (counts, None),
            Err(failed) => (failed.counts, Some(failed.why)),
        };
        sum.passed += counts.passed;
        sum.failed += counts.failed;
        sum.ignored += counts.ignored;
        seconds.insert((*name).to_owned(), json!(tenths(took)));
        match why {
            None => println!(
                "<== [{}/{}] {name}: ok, {:.1} s",
                nth + 1,
                STAGES.len(),
                took.as_secs_f64()
            ),
            Some(why) => {
                println!(
                    "<== [{}/{}] {name}: FAILED after {:.1} s: {why}",
                    nth + 1,
                    STAGES.len(),
                    took.as_secs_f64()
                );
                failed_at = Some(*name);
                break;
            }
        }
    }
    println!(
        "{}",
        json!({
            "passed": sum.passed,
            "failed": sum.failed,
            "ignored": sum.ignored,
            "failed_stage": failed_at,
            "seconds": tenths(whole.elapsed()),
            "stage_seconds": seconds,
        })
    );
    failed_at.is_none()
}

fn tenths(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

fn fail(why: impl Into<String>) -> Failed {
    Failed {
        counts: Counts {
            failed: 1,
            ..Counts::default()
        },
        why: why.into(),
    }
}

/// Cargo in the workspace's root, with nothing to read from, warnings in documentation denied.
fn cargo_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(arguments)
        .current_dir(workspace::root())
        .stdin(Stdio::null())
        .env("RUSTDOCFLAGS", "-D warnings");
    if std::env::var_os("CI").is_some() {
        command.env("CARGO_INCREMENTAL", "0");
    }
    command
}

fn cargo(arguments: &[&str]) -> Result<Counts, Failed> {
    match cargo_command(arguments).status() {
        Ok(status) if status.success() => Ok(Counts::ONE),
        Ok(status) => Err(fail(format!("cargo {} ended with {status}", arguments.join(" ")))),
        Err(e) => Err(fail(format!("cargo does not start: {e}"))),
    }
}

/// A command of `cargo xtask`, in this very process; it prints its own line of counts.
fn command(arguments: &[&str]) -> Result<Counts, Failed> {
    if crate::execute_words(arguments) {
        Ok(Counts::ONE)
    } else {
        Err(fail(format!("repeat: cargo xtask {}", arguments.join(" "))))
    }
}

fn crate_arrows() -> Result<Counts, Failed> {
    let packages = workspace::packages().map_err(|e| fail(e.to_string()))?;
    let mut findings = arrows::check_packages(&packages);
    for path in workspace::sources().map_err(|e| fail(e.to_string()))? {
        let text = std::fs::read_to_string(&path).map_err(|e| fail(format!("{}: {e}", path.display())))?;
        findings.extend(arrows::check_source(
            path.strip_prefix(workspace::root()).unwrap_or(&path),
            &text,
        ));
    }
    for finding in &findings {
        println!("    {finding}");
    }
    if findings.is_empty() {
        Ok(Counts::ONE)
    } else {
        Err(fail(format!("{} arrows do not hold", findings.len())))
    }
}

/// The examples that a test starts, which `cargo test` builds only if no targets are named to it.
const EXAMPLES: [&str; 4] = ["bot", "threads", "tokio", "websocket"];

/// All tests of the workspace; what cargo prints is passed on, its summary lines are added up. A test that could not do its
/// work on this machine prints a line with [`SKIPPED`], and counts as ignored.
fn tests() -> Result<Counts, Failed> {
    // Those that `tests/examples.rs` starts; to link each of the others takes half a minute and shows nothing more.
    let mut examples = vec!["build", "--workspace", "--profile", "checked", "--features", FEATURES];
    examples.extend(EXAMPLES.iter().flat_map(|name| ["--example", name]));
    cargo(&examples)?;
    let counts = tests_of(&["--lib", "--bins", "--tests"], Counts::default())?;
    tests_of(&["--doc"], counts)
}

/// The tests of these targets, added to `counts`.
fn tests_of(targets: &[&str], mut counts: Counts) -> Result<Counts, Failed> {
    let mut arguments = vec!["test", "--workspace", "--profile", "checked"];
    arguments.extend(["--features", FEATURES, "--no-fail-fast"]);
    arguments.extend(targets);
    let mut child = cargo_command(&arguments)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| fail(format!("cargo does not start: {e}")))?;
    let mut skipped = 0;
    let mut torn = None;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            match line {
                Ok(line) => {
                    let line = String::from_utf8_lossy(&line);
                    println!("{line}");
                    add_line(&mut counts, &mut skipped, &line);
                }
                Err(e) => torn = Some(e),
            }
        }
    }
    let status = child
        .wait()
        .and_then(|status| torn.map_or(Ok(status), |e: io::Error| Err(e)));
    match status {
        Ok(status) if status.success() && counts.failed == 0 && counts.passed > 0 => Ok(counts),
        Ok(status) => {
            let why = format!(
                "{} passed, {} failed; cargo test ended with {status}",
                counts.passed, counts.failed
            );
            // A test binary that does not compile or aborts prints no summary, and is a failure all the same.
            counts.failed = counts.failed.max(1);
            Err(Failed { counts, why })
        }
        Err(e) => Err(Failed {
            counts: Counts {
                failed: counts.failed.max(1),
                ..counts
            },
            why: e.to_string(),
        }),
    }
}

/// What a test tells, past the harness, that passes without having done its work.
const SKIPPED: &str = "SKIPPED: ";

/// Adds a line like `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`, less
/// the tests of that binary that were `skipped`.
fn add_line(counts: &mut Counts, skipped: &mut u64, line: &str) {
    // It may stand behind the name of the test.
    *skipped += u64::from(line.contains(SKIPPED));
    let Some(summary) = line.strip_prefix("test result: ") else {
        return;
    };
    let Some((_, figures)) = summary.split_once(". ") else {
        return;
    };
    for figure in figures.split("; ") {
        let Some((number, word)) = figure.split_once(' ') else {
            continue;
        };
        let Ok(number) = number.parse::<u64>() else { continue };
        match word {
            "passed" => {
                let skipped = std::mem::take(skipped).min(number);
                counts.passed += number - skipped;
                counts.ignored += skipped;
            }
            "failed" => counts.failed += number,
            "ignored" => counts.ignored += number,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_the_summaries_of_cargo() {
        let (mut counts, mut skipped) = (Counts::default(), 0);
        for line in [
            "test sim::rejects_a_hole ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s",
        ] {
            add_line(&mut counts, &mut skipped, line);
        }
        assert_eq!((counts.passed, counts.failed, counts.ignored), (7, 2, 1));
    }

    /// Found in review: a test that could not mount what it needs counted as passed.
    #[test]
    fn a_test_that_tells_that_it_was_skipped_is_none_that_passed() {
        let (mut counts, mut skipped) = (Counts::default(), 0);
        for line in [
            "SKIPPED: a read-only directory: no mounts",
            "test directories::a_directory_that_is_read_only ... ok",
            "test directories::a_directory_that_is_full ... SKIPPED: a full directory: no mounts",
            "ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        ] {
            add_line(&mut counts, &mut skipped, line);
        }
        assert_eq!((counts.passed, counts.failed, counts.ignored), (4, 0, 3));
    }
}
