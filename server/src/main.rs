//! The `scrollback` binary: its command line.

mod alloc;
mod bench;
mod cli;
mod commands;
mod demo;
mod failure;
mod files;
mod import;
mod in_flight;
mod output;
mod progress;
mod scratch;
mod session;
mod time_text;

use clap::Parser;
use cli::{Cli, Command};
use failure::Done;
use output::Format;
use std::{io::IsTerminal, process::ExitCode};

fn main() -> ExitCode {
    alloc::keep_freed_memory();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("SCROLLBACK_LOG").unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match std::env::var("SCROLLBACK_LOG_FORMAT").as_deref() {
        Ok("json") => log.json().init(),
        _ => log.init(),
    }
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(sentence) = failure.sentence {
                eprintln!("scrollback: {sentence}");
            }
            ExitCode::from(failure.status)
        }
    }
}

fn run(cli: Cli) -> Done {
    let format = Format::choose(cli.format);
    match cli.command {
        Command::Serve(args) => commands::serve::run(args),
        Command::Import(args) => import::run(args, format),
        Command::Channels(args) => commands::channels::run(args, format),
        Command::History(args) => commands::history::run(args, format),
        Command::Send(args) => commands::change::send(args, cli.format),
        Command::Edit(args) => commands::change::edit(args, format),
        Command::Delete(args) => commands::change::delete(args, format),
        Command::Window(args) => commands::window::run(args, format),
        Command::Status(args) => commands::operate::status(args, format),
        Command::Stats(args) => commands::stats::run(args, format),
        Command::Top(args) => commands::top::run(args, format),
        Command::Compact(args) => commands::operate::compact(args, format),
        Command::Flush(args) => commands::operate::flush(args, format),
        Command::CompactionStats(args) => commands::operate::compaction_stats(args, format),
        Command::DiskUsage(args) => commands::operate::disk_usage(args, format),
        Command::Check(args) => commands::check::run(args, format),
        Command::Snapshot(args) => commands::snapshot::take(args, format),
        Command::Backup(args) => commands::snapshot::backup(args, format),
        Command::Restore(args) => commands::snapshot::restore(args, format),
        Command::Sstable(command) => commands::sstable::run(command, format),
        Command::Bench(bench) => bench::run(bench, format),
        Command::Demo(args) => demo::run(args),
        Command::DemoWorker(args) => demo::run_worker(args),
    }
}

/// Help and version go to standard output; anything else is one sentence on standard error, and status 2.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
    }
    eprintln!("scrollback: {}", one_sentence(&error.to_string()));
    ExitCode::from(2)
}

/// The message of a usage error without its usage text, in one line.
fn one_sentence(text: &str) -> String {
    let words: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .flat_map(str::split_whitespace)
        .collect();
    let sentence = words.join(" ");
    format!("{} (try --help)", sentence.strip_prefix("error: ").unwrap_or(&sentence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_usage_error_is_one_sentence() {
        let sentence = |args: &[&str]| one_sentence(&Cli::try_parse_from(args).unwrap_err().to_string());
        assert_eq!(
            sentence(&["scrollback", "history", "--data", "d", "--channel", "c"]),
            "the following required arguments were not provided: <--limit <N>|--all> (try --help)"
        );
        assert_eq!(
            sentence(&[
                "scrollback",
                "edit",
                "--data",
                "d",
                "--channel",
                "c",
                "--content",
                "-x",
                "--id",
                "-1"
            ]),
            "invalid value '-1' for '--id <ID>': -1 is not a message id: ids are whole numbers from 1 to 9223372036854775806 (try --help)"
        );
    }
}
