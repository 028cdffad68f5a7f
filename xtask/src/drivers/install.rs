//! What clients need, from the package registries of their languages, kept from run to run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::kill9::program::Process;
use crate::workspace::told;

/// An installation that takes longer is given up.
const TIME_MAX: Duration = Duration::from_secs(240);
/// What package managers say when they reach no registry.
const UNREACHED: &[&str] = &[
    "Temporary failure in name resolution",
    "Name or service not known",
    "Failed to establish a new connection",
    "NewConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "ENETUNREACH",
    "no such host",
    "dial tcp",
    "i/o timeout",
    "UnknownHostException",
    "Unknown host",
    "Could not transfer",
    "Network is unreachable",
    "Connection refused",
    "Connection timed out",
    "module lookup disabled by GOPROXY=off",
];

/// What came of it.
pub(super) enum Installed {
    /// It can be run, with further arguments.
    Ready(Command),
    /// The language is not installed, or its registry is out of reach.
    Missing(String),
}

/// A virtual environment with `requirements.txt` of `folder`, to run `script`.
pub(super) fn python(folder: &Path, script: &Path, cache: &Path) -> Result<Installed, String> {
    if told("python3", &["-m", "venv", "--help"]).is_none() {
        return Ok(Installed::Missing("python3 with venv is not installed".to_owned()));
    }
    let requirements = folder.join("requirements.txt");
    let place = Place::of(folder, cache, &[&requirements])?;
    let environment = place.path.join("venv");
    if !place.is_done() {
        place.clear()?;
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(&environment);
        run(venv, "python3 -m venv")?;
        let mut pip = Command::new(environment.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "--retries", "1"])
            .args(["--timeout", "20", "--prefer-binary", "--requirement"])
            .arg(&requirements);
        if let Some(why) = from_registry(pip, "pip install")? {
            return Ok(Installed::Missing(why));
        }
        place.done()?;
    }
    let mut command = Command::new(environment.join("bin/python"));
    // A checkout stays as it is.
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(script);
    Ok(Installed::Ready(command))
}

/// What `package-lock.json` of `folder` says, to run `script`.
pub(super) fn node(folder: &Path, script: &Path, cache: &Path) -> Result<Installed, String> {
    if told("node", &["--version"]).is_none() || told("npm", &["--version"]).is_none() {
        return Ok(Installed::Missing("node with npm is not installed".to_owned()));
    }
    let (package, lock) = (folder.join("package.json"), folder.join("package-lock.json"));
    let place = Place::of(folder, cache, &[&package, &lock])?;
    if !place.is_done() {
        place.clear()?;
        for file in [&package, &lock] {
            let to = place.path.join(file.file_name().unwrap_or_default());
            std::fs::copy(file, &to).map_err(|e| format!("{}: {e}", to.display()))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"])
            .args(["--fetch-retries", "1", "--loglevel", "error"])
            .current_dir(&place.path);
        if let Some(why) = from_registry(npm, "npm ci")? {
            return Ok(Installed::Missing(why));
        }
        place.done()?;
    }
    let mut command = Command::new("node");
    command.env("NODE_PATH", place.path.join("node_modules")).arg(script);
    Ok(Installed::Ready(command))
}

/// The program that `go.mod` and `main.go` of `folder` make.
pub(super) fn go(folder: &Path, cache: &Path) -> Result<Installed, String> {
    if told("go", &["version"]).is_none() {
        return Ok(Installed::Missing("go is not installed".to_owned()));
    }
    let files = ["go.mod", "go.sum", "main.go"].map(|file| folder.join(file));
    let place = Place::of(folder, cache, &[&files[0], &files[1], &files[2]])?;
    let program = place.path.join("driver");
    if !place.is_done() {
        place.clear()?;
        let mut go = Command::new("go");
        go.args(["build", "-o"]).arg(&program).arg(".").current_dir(folder);
        if let Some(why) = from_registry(go, "go build")? {
            return Ok(Installed::Missing(why));
        }
        place.done()?;
    }
    Ok(Installed::Ready(Command::new(program)))
}

/// The classes that `pom.xml` of `folder` makes, with what they need.
pub(super) fn java(folder: &Path, cache: &Path) -> Result<Installed, String> {
    if told("javac", &["-version"]).is_none() || told("mvn", &["--version"]).is_none() {
        return Ok(Installed::Missing("a JDK with mvn is not installed".to_owned()));
    }
    let files = ["pom.xml", "src/main/java/Main.java"].map(|file| folder.join(file));
    let place = Place::of(folder, cache, &[&files[0], &files[1]])?;
    if !place.is_done() {
        place.clear()?;
        let mut mvn = Command::new("mvn");
        mvn.args(["-q", "-B", "-f"])
            .arg(&files[0])
            .arg(format!("-Dplace={}", place.path.display()))
            .args(["package"]);
        if let Some(why) = from_registry(mvn, "mvn package")? {
            return Ok(Installed::Missing(why));
        }
        place.done()?;
    }
    let mut command = Command::new("java");
    let classes = place.path.join("classes");
    let jars = place.path.join("lib").join("*");
    command
        .arg("-cp")
        .arg(format!("{}:{}", classes.display(), jars.display()))
        .arg("Main");
    Ok(Installed::Ready(command))
}

/// The folder of one client in the cache. It is whole if its stamp holds what it was made from.
struct Place {
    path: PathBuf,
    made_from: String,
}

impl Place {
    fn of(folder: &Path, cache: &Path, sources: &[&Path]) -> Result<Self, String> {
        let mut made_from = String::new();
        for source in sources {
            made_from += &std::fs::read_to_string(source).map_err(|e| format!("{}: {e}", source.display()))?;
        }
        let path = cache.join(folder.file_name().unwrap_or_default());
        Ok(Self { path, made_from })
    }

    fn stamp(&self) -> PathBuf {
        self.path.join("made-from")
    }

    fn is_done(&self) -> bool {
        std::fs::read_to_string(self.stamp()).is_ok_and(|stamp| stamp == self.made_from)
    }

    /// Makes it, empty.
    fn clear(&self) -> Result<(), String> {
        let failed = |e| format!("{}: {e}", self.path.display());
        if self.path.exists() {
            std::fs::remove_dir_all(&self.path).map_err(failed)?;
        }
        #[expect(clippy::disallowed_methods, reason = "a folder for a check, off every shard")]
        std::fs::create_dir_all(&self.path).map_err(failed)
    }

    fn done(&self) -> Result<(), String> {
        #[expect(clippy::disallowed_methods, reason = "a file of a check, off every shard")]
        std::fs::write(self.stamp(), &self.made_from).map_err(|e| format!("{}: {e}", self.stamp().display()))
    }
}

/// Runs a package manager; says why, if its registry is out of reach.
fn from_registry(command: Command, what: &str) -> Result<Option<String>, String> {
    match run(command, what) {
        Ok(()) => Ok(None),
        Err(why) if UNREACHED.iter().any(|text| why.contains(text)) => {
            eprintln!("{why}");
            Ok(Some(format!("{what}: the package registry cannot be reached")))
        }
        Err(why) => Err(why),
    }
}

/// Runs a command to its good end; otherwise the last of what it said is the error.
fn run(mut command: Command, what: &str) -> Result<(), String> {
    let log = tempfile::NamedTempFile::new().map_err(|e| format!("a file for what {what} says: {e}"))?;
    let to = log.reopen().map_err(|e| format!("a file for what {what} says: {e}"))?;
    command.stdin(Stdio::null()).stderr(to);
    let mut process = Process::start(command, what.to_owned())?;
    let mut said = String::new();
    let clock = crate::clock::Stopwatch::start();
    loop {
        let open = process.fill(Duration::from_millis(200))?;
        while let Some(line) = process.line() {
            said.push_str(line);
            said.push('\n');
        }
        if !open {
            break;
        }
        if clock.elapsed() > TIME_MAX {
            process.kill()?;
            return Err(format!("{what} takes longer than {} s", TIME_MAX.as_secs()));
        }
    }
    match process.ended_within(Duration::from_secs(10))? {
        Some(status) if status.success() => Ok(()),
        Some(status) => {
            said += &std::fs::read_to_string(log.path()).unwrap_or_default();
            let first = said.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
            Err(format!("{what} ended with {status}:\n{}", &said[first..]))
        }
        None => Err(format!("{what} does not end")),
    }
}
