//! The crate arrows hold, in the workspace as it is; and the check that says so bites.

use std::path::Path;

use xtask::arrows::{ARROWS, check_packages, check_source};
use xtask::workspace::{self, Dependency, Kind, Package};

fn package(name: &str, dependencies: &[(&str, Kind)]) -> Package {
    let dependencies = dependencies.iter().map(|(name, kind)| Dependency {
        name: (*name).to_owned(),
        kind: *kind,
    });
    Package {
        name: name.to_owned(),
        dependencies: dependencies.collect(),
    }
}

#[test]
fn workspace_follows_its_arrows() {
    let packages = workspace::packages().unwrap();
    assert!(
        packages.len() >= 9,
        "cargo metadata shows only {} packages",
        packages.len()
    );
    assert_eq!(check_packages(&packages), Vec::<String>::new());
}

#[test]
fn only_runtime_names_the_executor() {
    let sources = workspace::sources().unwrap();
    assert!(sources.len() >= 18, "only {} source files found", sources.len());
    let findings: Vec<String> = sources
        .iter()
        .filter_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            check_source(path.strip_prefix(workspace::root()).unwrap(), &text)
        })
        .collect();
    assert_eq!(findings, Vec::<String>::new());
}

#[test]
fn each_arrow_is_listed_once_and_points_down() {
    for (at, (from, to)) in ARROWS.iter().enumerate() {
        for (nth, name) in to.iter().enumerate() {
            assert!(!to[..nth].contains(name), "{from} -> {name} is listed twice");
            assert!(
                ARROWS[..at].iter().any(|(lower, _)| lower == name),
                "{from} -> {name} does not point down"
            );
        }
    }
}

#[test]
fn rejects_an_arrow_that_is_not_listed() {
    let packages = [
        package("scrollback-sstable", &[]),
        package("scrollback-memtable", &[("scrollback-sstable", Kind::Normal)]),
    ];
    assert_eq!(
        check_packages(&packages),
        ["scrollback-memtable depends on scrollback-sstable: there is no such arrow"]
    );
}

#[test]
fn rejects_an_arrow_that_turns_back_in_tests_only() {
    let up = package("scrollback-model", &[("scrollback-engine", Kind::Dev)]);
    let findings = check_packages(&[up, package("scrollback-engine", &[])]);
    assert_eq!(findings.len(), 1);
    assert!(findings[0].contains("the arrow turns back"), "{findings:?}");
}

#[test]
fn tests_may_look_sideways_and_outside() {
    let sideways = [("scrollback-runtime", Kind::Dev), ("scylla", Kind::Dev)];
    let packages = [
        package("scrollback-memtable", &sideways),
        package("scrollback-runtime", &[]),
    ];
    assert_eq!(check_packages(&packages), Vec::<String>::new());
}

#[test]
fn rejects_a_crate_without_a_place() {
    let findings = check_packages(&[package("scrollback-utils", &[])]);
    assert!(
        findings[0].starts_with("scrollback-utils is not in the list of arrows"),
        "{findings:?}"
    );
}

#[test]
fn rejects_the_executor_outside_runtime() {
    let executor = concat!("glom", "mio-ng");
    let findings = check_packages(&[package("scrollback-engine", &[(executor, Kind::Dev)])]);
    assert_eq!(
        findings,
        [format!(
            "scrollback-engine names {executor}: only scrollback-runtime may"
        )]
    );

    let line = concat!("//! Text.\nuse glom", "mio::Task;\n");
    let finding = check_source(Path::new("engine/src/shard.rs"), line).unwrap();
    assert!(finding.starts_with("engine/src/shard.rs:2 names"), "{finding}");
    assert_eq!(check_source(Path::new("runtime/src/uring/mod.rs"), line), None);
}
