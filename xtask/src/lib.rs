//! The checks of the Scrollback workspace behind `cargo xtask`.
//!
//! Each command prints what it does on stderr, ends with one JSON object of counts as the last line of stdout, and
//! returns status 0 (all held), 1 (something failed) or 2 (wrong usage).

pub mod arrows;
mod asan;
mod bitflip;
mod chat;
mod chat_compaction;
mod ci;
mod clock;
mod crowd_cql;
mod drivers;
mod fuzz;
mod kill9;
mod kill9_cql;
mod leaks;
mod rng;
mod roundtrip;
mod served;
mod sim;
mod sim_cql;
pub mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "The checks of the Scrollback workspace.",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every check, in order: format, lints, documentation, tests, crate arrows. The first failure ends it.
    Ci,
    /// Whole histories on the simulated disk, drawn from seeds, against a simple model.
    Sim(sim::command::Options),
    /// Histories of chat: several writers with every call of the messages API, power cuts, other numbers of shards, snapshots.
    SimChat(chat::Options),
    /// Histories of the server's sessions: pipelined requests, conditions, pages, definitions that change, power cuts.
    SimCql(sim_cql::Options),
    /// A power cut at every disk operation of a scripted run, with unsynced data kept, dropped and torn.
    CrashPoints(sim::crash_points::Options),
    /// The real program, killed with SIGKILL while it imports chat or serves a mixed load, opened again and compared.
    Kill9(kill9::Options),
    /// The real server, killed with SIGKILL under a load of CQL, started again and asked.
    Kill9Cql(kill9_cql::Options),
    /// The real server with ten thousand connections that rest and a thousand that write and read, minutes long.
    CrowdCql(crowd_cql::Options),
    /// Chat in many channels, edited and deleted in part, compacted by each strategy, killed with SIGKILL in between: every channel exact.
    ChatCompaction(chat_compaction::Options),
    /// The process that `chat-compaction` kills.
    #[command(hide = true)]
    ChatCompactionChild(chat_compaction::child::Options),
    /// Every bit of a small file of each kind, flipped: each flip must be detected.
    Bitflip(bitflip::Options),
    /// Every decoder, fuzzed under AddressSanitizer; needs a nightly compiler.
    Fuzz(fuzz::Options),
    /// The tests of the crates with `unsafe` code under AddressSanitizer; needs a nightly compiler. Takes minutes, and is not in `ci`.
    Asan,
    /// A store opened and closed very often in one process: memory, descriptors and threads are counted.
    Leaks(leaks::Options),
    /// Clients of Cassandra in several languages against the real server, which is restarted under them. Those that are not
    /// installed are skipped; what they need comes from package registries, once.
    Drivers(drivers::Options),
    /// A file of chat through the real command line: in, out again in both directions, exactly; killed and run again, too.
    Roundtrip(roundtrip::Options),
}

/// Runs the command line and gives its status.
pub fn run() -> ExitCode {
    if execute(Cli::parse().command) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs one command; true if all held.
fn execute(command: Command) -> bool {
    match command {
        Command::Ci => ci::run(),
        Command::Asan => asan::run(),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Leaks(options) => leaks::run(&options),
        Command::Sim(options) => sim::command::run(options),
        Command::SimChat(options) => chat::run(options),
        Command::SimCql(options) => sim_cql::run(options),
        Command::ChatCompaction(options) => chat_compaction::run(&options),
        Command::ChatCompactionChild(options) => chat_compaction::child::run(&options),
        Command::CrashPoints(options) => sim::crash_points::run(&options),
        Command::Kill9(options) => kill9::run(&options),
        Command::Kill9Cql(options) => kill9_cql::run(&options),
        Command::CrowdCql(options) => crowd_cql::run(&options),
        Command::Bitflip(options) => bitflip::run(&options),
        Command::Drivers(options) => drivers::run(&options),
        Command::Roundtrip(options) => roundtrip::run(&options),
    }
}

/// Runs one command given by its words, as on the command line; true if all held.
///
/// # Panics
/// If the words are no command.
fn execute_words(words: &[&str]) -> bool {
    let line = std::iter::once("xtask").chain(words.iter().copied());
    execute(Cli::try_parse_from(line).expect("a command of ours").command)
}
