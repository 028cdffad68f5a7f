//! `cargo xtask kill9`: the real program, killed with SIGKILL while it works; then it is opened again, and everything that
//! was acknowledged must be there, once, and nothing that was deleted.
//!
//! Every other round kills an import (`import`), the others a mixed load (`mixed`). The seed draws the data, the load, and
//! when to kill; how far the program is by then is the machine's.

pub(crate) mod chat;
pub(crate) mod import;
mod judge;
mod mixed;
pub(crate) mod program;
mod report;
pub(crate) mod store;

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::clock::Stopwatch;
use crate::rng::Rng;
use chat::Chat;
use import::Imports;
use mixed::Mixed;
use program::Program;
use report::Report;

/// What `cargo xtask kill9` is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Kills.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// The file to import, JSON lines, plain or gzip. Without it chat is made up.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Lines of chat made up.
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    lines: u32,
    /// The instant from which the stores' ids count: before the oldest line.
    #[arg(long, value_name = "RFC3339", default_value = "2004-01-01T00:00:00Z")]
    epoch: String,
    /// Draws data, load and moments.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
}

/// Runs what was asked; true if nothing was lost, duplicated or revived, and enough rounds show it.
pub(crate) fn run(options: &Options) -> bool {
    let clock = Stopwatch::start();
    let mut report = Report::default();
    let outcome = Program::build().and_then(|program| {
        let folder = program.folder()?;
        rounds(options, &program, folder.path(), &mut report)
            .map_err(|why| format!("{why}; the stores are in {}", folder.keep().display()))
    });
    let outcome = outcome.and_then(|()| {
        let (enough, all) = (report.rounds.midway_after_flush, report.rounds.all);
        if report.rounds.are_enough() {
            Ok(())
        } else {
            Err(format!(
                "only {enough} of {all} rounds died midway and after a flush: fewer than four fifths"
            ))
        }
    });
    if let Err(why) = &outcome {
        eprintln!("{why}");
        eprintln!(
            "the same load again: cargo xtask kill9 --rounds {} --seed {}",
            options.rounds, options.seed
        );
    }
    let mut line = report.json();
    line["seed"] = json!(options.seed);
    line["seconds"] = json!((clock.elapsed().as_secs_f64() * 10.0).round() / 10.0);
    line["status"] = json!(if outcome.is_ok() { "ok" } else { "failed" });
    println!("{line}");
    outcome.is_ok()
}

fn rounds(options: &Options, program: &Program, folder: &Path, report: &mut Report) -> Result<(), String> {
    let mut rng = Rng::new(options.seed);
    let chat = match &options.input {
        Some(path) => Chat::read(path)?,
        None => Chat::make_up(&folder.join("chat.jsonl"), options.lines as usize, &mut rng.fork())?,
    };
    eprintln!("seed {}, {} lines of chat", options.seed, chat.lines.len());
    let imports = Imports::prepare(program, folder, &chat, &options.epoch, &mut rng.fork())?;
    let mut mixed = Mixed::new(program, folder);
    for nth in 0..options.rounds as usize {
        let mut rng = rng.fork();
        if nth % 2 == 0 {
            imports.round(nth / 2, &mut rng, report)?;
        } else {
            mixed.round(&mut rng, report)?;
        }
        eprintln!("round {}: {}", nth + 1, report.json());
    }
    Ok(())
}
