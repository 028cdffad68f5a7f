//! The workspace as cargo and the file system show it: its root, its packages, its source files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// What cargo is told for what it builds on behalf of this program, so that both have the same libraries.
pub(crate) const FEATURES: &str = match (cfg!(feature = "breaks"), cfg!(feature = "shared")) {
    (true, true) => "xtask/breaks,xtask/shared",
    (true, false) => "xtask/breaks",
    (false, true) => "xtask/shared",
    (false, false) => "",
};

/// Why the workspace could not be read.
#[derive(Debug)]
pub struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

/// The folder that holds the workspace's `Cargo.toml`.
///
/// # Panics
/// Never: the folder of this crate lies in it.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask/ lies in the workspace's root")
}

/// What a dependency is needed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Part of what is shipped.
    Normal,
    /// Tests, examples and benches only.
    Dev,
    /// Build scripts only.
    Build,
}

/// One dependency that a package of the workspace names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dependency {
    /// The package's own name, whatever it is called where it is used.
    pub name: String,
    /// What it is needed for.
    pub kind: Kind,
}

/// A package of the workspace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Package {
    /// Its name in its `Cargo.toml`.
    pub name: String,
    /// Everything its `Cargo.toml` names, from here or from outside, optional or not, for every target.
    pub dependencies: Vec<Dependency>,
}

/// The packages of the workspace, by `cargo metadata --no-deps`: no network, nothing is built.
///
/// # Errors
/// If cargo does not start, fails, or answers in a shape that is not known.
pub fn packages() -> Result<Vec<Package>, Unreadable> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root())
        .output()
        .map_err(|e| Unreadable(format!("cargo metadata does not start: {e}")))?;
    if !output.status.success() {
        return Err(Unreadable(format!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    parse_metadata(&output.stdout)
}

/// The packages in what `cargo metadata` printed.
///
/// # Errors
/// If it is not JSON, or lacks a field that is needed here.
pub fn parse_metadata(json: &[u8]) -> Result<Vec<Package>, Unreadable> {
    let metadata: Value =
        serde_json::from_slice(json).map_err(|e| Unreadable(format!("cargo metadata is not JSON: {e}")))?;
    array(&metadata, "packages")?.iter().map(package).collect()
}

fn package(value: &Value) -> Result<Package, Unreadable> {
    let dependencies = array(value, "dependencies")?.iter().map(|d| {
        let kind = match d["kind"].as_str() {
            None => Kind::Normal,
            Some("dev") => Kind::Dev,
            Some("build") => Kind::Build,
            Some(other) => {
                return Err(Unreadable(format!(
                    "cargo metadata knows a dependency of kind {other:?}"
                )));
            }
        };
        Ok(Dependency {
            name: string(d, "name")?,
            kind,
        })
    });
    Ok(Package {
        name: string(value, "name")?,
        dependencies: dependencies.collect::<Result<_, _>>()?,
    })
}

fn array<'a>(value: &'a Value, field: &str) -> Result<&'a Vec<Value>, Unreadable> {
    value[field]
        .as_array()
        .ok_or_else(|| Unreadable(format!("cargo metadata has no list {field:?}")))
}

fn string(value: &Value, field: &str) -> Result<String, Unreadable> {
    value[field]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Unreadable(format!("cargo metadata has no text {field:?}")))
}

/// Every `.rs` and `Cargo.toml` of the workspace, sorted; `target` and hidden folders are passed over.
///
/// # Errors
/// If a folder cannot be listed.
pub fn sources() -> Result<Vec<PathBuf>, Unreadable> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        let unreadable = |e| Unreadable(format!("{}: {e}", folder.display()));
        for entry in list(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if entry.file_type().map_err(unreadable)?.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(entry.path());
                }
            } else if name.ends_with(".rs") || name == "Cargo.toml" {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[expect(
    clippy::disallowed_methods,
    reason = "lists the checkout for a check, off every shard"
)]
fn list(folder: &Path) -> std::io::Result<std::fs::ReadDir> {
    std::fs::read_dir(folder)
}

/// What a program says on stdout; `None` if it cannot be run or fails.
pub(crate) fn told(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stderr(Stdio::null()).output();
    let output = output.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The target that a nightly compiler builds for by itself; `None` if there is none.
pub(crate) fn nightly_host() -> Option<String> {
    let version = told("rustc", &["+nightly", "-vV"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "))?;
    Some(host.to_owned())
}
