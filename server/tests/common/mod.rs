//! What the tests of the command line share: running the program, files, generated chat.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::disallowed_methods, reason = "files of tests, outside every shard")]
#![allow(dead_code, reason = "each test binary uses a part")]

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_scrollback");

/// A folder with direct I/O.
pub fn folder(name: &str) -> tempfile::TempDir {
    let mut builder = tempfile::Builder::new();
    builder.prefix(name).tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Runs the program to its end.
pub fn scrollback<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    Command::new(PROGRAM).args(args).output().unwrap()
}

/// What a program that must end well prints.
pub fn stdout_of<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> String {
    let output = scrollback(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes a file.
pub fn write(path: PathBuf, bytes: &[u8]) -> PathBuf {
    fs::write(&path, bytes).unwrap();
    path
}

/// Makes a folder.
pub fn make_dir(path: PathBuf) -> PathBuf {
    fs::create_dir_all(&path).unwrap();
    path
}

/// Whether this process may not write the file.
pub fn is_read_only(path: &Path) -> bool {
    fs::OpenOptions::new().write(true).open(path).is_err()
}

/// Moves a file.
pub fn rename(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
}

/// Removes a file.
pub fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

/// Reads a file.
pub fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

/// All files below a folder, sorted.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Copies a folder, as it is, but for the socket that a killed store has left.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in entries(from) {
        let target = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &target);
        } else if entry.is_file() {
            fs::copy(&entry, &target).unwrap();
        }
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// All messages of a channel, newest first, as the program prints them.
pub fn history(store: &Path, channel: &str) -> String {
    let args = [
        "history",
        "--data",
        text(store),
        "--channel",
        channel,
        "--all",
        "--format",
        "jsonl",
    ];
    stdout_of(args)
}

/// Starts an import, kills it with SIGKILL once it has acknowledged `lines` lines, and gives how many it had acknowledged;
/// `None` if it came to its end first.
pub fn kill_import(args: &[&str], lines: u64) -> Option<u64> {
    let mut child: Child = Command::new(PROGRAM)
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let mut acknowledged = 0;
    for line in stdout.lines() {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        match line["acknowledged"].as_u64() {
            Some(number) => acknowledged = number,
            None => break,
        }
        if acknowledged >= lines {
            child.kill().unwrap();
            break;
        }
    }
    let killed = !child.wait().unwrap().success();
    killed.then_some(acknowledged)
}
