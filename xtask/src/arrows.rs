//! Which crate may know which: the arrows of `docs/architecture.md`, and that `runtime` alone names its executor.
//!
//! 1. [`ARROWS`] lists each allowed arrow once. A package of the workspace that names another one without an arrow is
//!    a finding; so is a package that the list does not know.
//! 2. A dev-dependency may go where no arrow is, but never back: not to a crate from which the arrows lead to it.
//! 3. The executor's crate is named by `runtime` alone, in its `Cargo.toml` and in source text.

use std::path::Path;

use crate::workspace::{Kind, Package};

/// Every allowed arrow: a package, and the packages of this workspace that it may name. Lowest first.
///
/// `xtask` stands above all of them; nothing may name it.
pub const ARROWS: &[(&str, &[&str])] = &[
    ("scrollback-runtime", &[]),
    ("scrollback-model", &[]),
    ("scrollback-memtable", &["scrollback-model"]),
    ("scrollback-commitlog", &["scrollback-runtime", "scrollback-model"]),
    ("scrollback-sstable", &["scrollback-runtime", "scrollback-model"]),
    (
        "scrollback-compaction",
        &["scrollback-runtime", "scrollback-model", "scrollback-sstable"],
    ),
    (
        "scrollback-engine",
        &[
            "scrollback-runtime",
            "scrollback-model",
            "scrollback-memtable",
            "scrollback-commitlog",
            "scrollback-sstable",
            "scrollback-compaction",
        ],
    ),
    // History is made of tables like any other: not one word about files.
    (
        "scrollback-messages",
        &["scrollback-runtime", "scrollback-model", "scrollback-engine"],
    ),
    // The language and the frames, on byte slices.
    ("scrollback-cql", &["scrollback-model"]),
    (
        "scrollback",
        &["scrollback-model", "scrollback-engine", "scrollback-messages"],
    ),
    (
        "scrollback-server",
        &[
            "scrollback-runtime",
            "scrollback-model",
            // For `scrollback sstable …`, which reads one file offline.
            "scrollback-sstable",
            "scrollback-engine",
            "scrollback-messages",
            "scrollback-cql",
        ],
    ),
    (
        "xtask",
        &[
            "scrollback-runtime",
            "scrollback-model",
            "scrollback-memtable",
            "scrollback-commitlog",
            "scrollback-sstable",
            "scrollback-compaction",
            "scrollback-engine",
            "scrollback-messages",
            "scrollback-cql",
            "scrollback",
            "scrollback-server",
        ],
    ),
];

/// The package that alone may name the executor, and its folder.
const EXECUTOR_OWNER: (&str, &str) = ("scrollback-runtime", "runtime");

/// How the executor's crates and paths begin. Put together here, so that this file does not name it either.
const EXECUTOR: &str = concat!("glom", "mio");

/// What contradicts the arrows in `packages`, one sentence each; empty if all hold.
pub fn check_packages(packages: &[Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages {
        let from = package.name.as_str();
        let Some(allowed) = arrows_of(from) else {
            findings.push(format!(
                "{from} is not in the list of arrows: add it to xtask/src/arrows.rs, with its reason"
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let to = dependency.name.as_str();
            if to.starts_with(EXECUTOR) && from != EXECUTOR_OWNER.0 {
                findings.push(format!("{from} names {to}: only {} may", EXECUTOR_OWNER.0));
            }
            if !packages.iter().any(|p| p.name == to) {
                continue;
            }
            match dependency.kind {
                Kind::Normal | Kind::Build if !allowed.contains(&to) => {
                    findings.push(format!("{from} depends on {to}: there is no such arrow"));
                }
                Kind::Dev if to == from || leads_to(to, from) => {
                    findings.push(format!(
                        "the tests of {from} depend on {to}, which is built on {from}: the arrow turns back"
                    ));
                }
                _ => {}
            }
        }
    }
    findings
}

/// What contradicts rule 3 in one source file, `path` relative to the workspace's root; `None` if nothing does.
///
/// The root's `Cargo.toml` pins the version for `runtime` and is no finding.
pub fn check_source(path: &Path, text: &str) -> Option<String> {
    if path.starts_with(EXECUTOR_OWNER.1) || path == Path::new("Cargo.toml") {
        return None;
    }
    let line = text
        .lines()
        .position(|line| line.to_ascii_lowercase().contains(EXECUTOR))?;
    Some(format!(
        "{}:{} names {EXECUTOR}: only {}/ may",
        path.display(),
        line + 1,
        EXECUTOR_OWNER.1
    ))
}

fn arrows_of(package: &str) -> Option<&'static [&'static str]> {
    ARROWS.iter().find(|(from, _)| *from == package).map(|(_, to)| *to)
}

fn leads_to(from: &str, to: &str) -> bool {
    arrows_of(from).is_some_and(|next| next.iter().any(|n| *n == to || leads_to(n, to)))
}
