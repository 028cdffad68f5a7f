//! `cargo xtask drivers`: clients of Cassandra in several languages against the real server.
//!
//! 1. What a client needs is installed into `target/drivers/`, each into a folder of its own, and kept there until its list of
//!    requirements changes. A language that is not installed, and a registry that cannot be reached, are told and counted as skipped.
//! 2. The server is started with 2 shards on free ports of the loopback, with a store of its own.
//! 3. Each client (`drivers/README.md`) gets a keyspace of its own. When it says `RESTART`, the server is ended (SIGTERM, the next
//!    time SIGKILL) and started again with the same store, and the client is told; it has to connect again by itself.
//!    When it says `FRESH`, the store is a new one.
//! 4. A client has passed if it ends well and its last line is `OK n`.

mod install;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::clock::Stopwatch;
use crate::kill9::chat::Chat;
use crate::kill9::program::{Process, Program};
use crate::rng::Rng;
use crate::workspace;
use install::Installed;
use server::{DATACENTER, SHARDS, Server};

/// A client that says nothing for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(180);
/// A client has so long in all.
const TIME_MAX: Duration = Duration::from_secs(420);
/// Restarts that a client may ask for.
const RESTARTS_MAX: u32 = 8;

/// Lines of chat made up.
const CHAT_LINES: usize = 20_000;

/// What `cargo xtask drivers` is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only those in these languages.
    #[arg(long, value_name = "LANGUAGE,…", value_enum, value_delimiter = ',')]
    only: Vec<Language>,
    /// A program `scrollback` that is there already, with the example beside it. Without it they are built.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// The file of chat that cqlsh copies, JSON lines, plain or gzip. Without it chat is made up.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

/// The languages of the clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Language {
    Python,
    Rust,
    Node,
    Go,
    Java,
}

/// The clients, by the names of their folders in `drivers/`.
const CLIENTS: &[(&str, Language)] = &[
    ("python-cassandra", Language::Python),
    ("python-scylla", Language::Python),
    ("rust-scylla", Language::Rust),
    ("node", Language::Node),
    ("go", Language::Go),
    ("go-v2", Language::Go),
    ("java", Language::Java),
    ("cqlsh", Language::Python),
];

/// An example that checks itself, with a server of its own: it is about data centers of certain names.
const ARTICLES: &str = "node-articles";
const ARTICLES_TOPOLOGY: &[&str] = &[
    "--datacenter",
    "us-east-1a",
    "--other-datacenters",
    "us-east-1b,us-east-1c",
];

/// What was run.
#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    /// What clients checked.
    checks: u64,
    restarts: u64,
    skipped: Vec<String>,
}

/// Runs what was asked; true if no client found anything wrong.
pub(crate) fn run(options: &Options) -> bool {
    let clock = Stopwatch::start();
    let mut counts = Counts::default();
    if let Err(why) = run_all(options, &mut counts) {
        eprintln!("{why}");
        counts.failed += 1;
    }
    println!(
        "{}",
        json!({
            "passed": counts.passed,
            "failed": counts.failed,
            "skipped": counts.skipped,
            "checks": counts.checks,
            "restarts": counts.restarts,
            "seconds": (clock.elapsed().as_secs_f64() * 10.0).round() / 10.0,
            "status": if counts.failed == 0 { "ok" } else { "failed" },
        })
    );
    counts.failed == 0
}

fn run_all(options: &Options, counts: &mut Counts) -> Result<(), String> {
    let program = match &options.program {
        Some(path) => Program::at(path)?,
        None => Program::build()?,
    };
    let cache = program.cache("drivers")?;
    let is_wanted = |language: Language| options.only.is_empty() || options.only.contains(&language);
    let mut server = Server::start(&program, &[])?;
    let folder = program.folder()?;
    let chat = match &options.input {
        Some(path) => std::path::absolute(path).map_err(|e| format!("{}: {e}", path.display()))?,
        None => {
            let path = folder.path().join("chat.jsonl");
            Chat::make_up(&path, CHAT_LINES, &mut Rng::new(1))?.path
        }
    };
    for (name, language) in CLIENTS.iter().filter(|(_, language)| is_wanted(*language)) {
        let folder = workspace::root().join("drivers").join(name);
        let mut command = install(*language, &program, options.program.is_some(), &folder, &cache);
        if let Ok(Installed::Ready(command)) = &mut command {
            command.env("CHAT", &chat);
        }
        of_client(name, command, &mut server, &program, counts);
    }
    server.end()?;
    if is_wanted(Language::Node) {
        let folder = workspace::root().join("examples").join(ARTICLES);
        let command = install::node(&folder, &folder.join("check.js"), &cache);
        let mut server = Server::start(&program, ARTICLES_TOPOLOGY)?;
        of_client(ARTICLES, command, &mut server, &program, counts);
        server.end()?;
    }
    Ok(())
}

/// Runs one client, if it could be installed, and counts it.
fn of_client(
    name: &str,
    command: Result<Installed, String>,
    server: &mut Server,
    program: &Program,
    counts: &mut Counts,
) {
    let clock = Stopwatch::start();
    let checks = match command {
        Ok(Installed::Ready(command)) => client(name, command, server, program, counts),
        Ok(Installed::Missing(why)) => {
            eprintln!("{name}: SKIPPED: {why}");
            counts.skipped.push(format!("{name}: {why}"));
            return;
        }
        Err(why) => Err(why),
    };
    match checks {
        Ok(checks) => {
            eprintln!("{name}: {checks} checks, {:.1} s", clock.elapsed().as_secs_f64());
            counts.passed += 1;
            counts.checks += checks;
        }
        Err(why) => {
            eprintln!("{name}: FAILED: {why}");
            counts.failed += 1;
        }
    }
}

fn install(
    language: Language,
    program: &Program,
    is_built: bool,
    folder: &Path,
    cache: &Path,
) -> Result<Installed, String> {
    match language {
        Language::Python => install::python(folder, &folder.join("main.py"), cache),
        Language::Node => install::node(folder, &folder.join("main.js"), cache),
        Language::Go => install::go(folder, cache),
        Language::Java => install::java(folder, cache),
        Language::Rust => {
            let path = program.example("driver-rust-scylla", is_built)?;
            Ok(Installed::Ready(Command::new(path)))
        }
    }
}

/// Runs one client, and restarts the server when it asks for that; gives the number of its checks.
fn client(
    name: &str,
    mut command: Command,
    server: &mut Server,
    program: &Program,
    counts: &mut Counts,
) -> Result<u64, String> {
    let keyspace = format!("of_{}", name.replace('-', "_"));
    command
        .args([
            "127.0.0.1",
            &server.port.to_string(),
            &keyspace,
            DATACENTER,
            &SHARDS.to_string(),
        ])
        .stdin(Stdio::piped())
        .stderr(Stdio::inherit());
    let mut process = Process::start(command, name.to_owned())?;
    let whole = Stopwatch::start();
    let mut heard = Stopwatch::start();
    let mut restarts = 0;
    let mut checks = None;
    loop {
        let open = process.fill(Duration::from_millis(100))?;
        let (mut asked, mut is_fresh) = (false, false);
        while let Some(line) = process.line() {
            heard = Stopwatch::start();
            match line {
                "RESTART" | "FRESH" => {
                    asked = true;
                    is_fresh = line == "FRESH";
                }
                line => {
                    checks = line.strip_prefix("OK ").and_then(|count| count.parse().ok());
                    if checks.is_none() {
                        eprintln!("    {line}");
                    }
                }
            }
        }
        if asked {
            restarts += 1;
            if restarts > RESTARTS_MAX {
                return Err(format!("it asks for more than {RESTARTS_MAX} restarts"));
            }
            if is_fresh {
                server.renew(program)?;
            } else {
                server.restart(program, restarts % 2 == 1)?;
            }
            counts.restarts += 1;
            process.say("RESTARTED")?;
        }
        if !open {
            break;
        }
        if heard.elapsed() > SILENCE_MAX || whole.elapsed() > TIME_MAX {
            process.kill()?;
            return Err("it takes too long, and was killed".to_owned());
        }
    }
    match process.ended_within(Duration::from_secs(10))? {
        Some(status) if status.success() => checks.ok_or_else(|| "it ended without OK".to_owned()),
        Some(status) => Err(format!("it ended with {status}")),
        None => Err("it does not end".to_owned()),
    }
}
