//! The process that starts the worker, kills it, and checks what is left.

use super::figures::Figures;
use crate::{
    cli,
    failure::{Done, Failure},
    output::Output,
    scratch, session,
};
use messages::{History, Messages, NameKind};
use runtime::time::Instant;
use scrollback_server::{
    load::{CHANNELS, Expected, Run, Verdict, channel_name},
    pipe::Pipe,
};
use serde::Serialize;
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Clients at work at the same time.
const CLIENTS: u32 = 48;
/// Messages checked at once.
const PAGE: usize = 2000;
/// A worker that has not opened its store after so long is given up.
const READY_WITHIN: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct Summary {
    acknowledged: u64,
    missing: u64,
    revived: u64,
    recovered: bool,
}

/// `scrollback demo`
pub fn run(args: cli::Demo) -> Done {
    let folder = scratch::Folder::new(args.data.as_deref(), "demo")?;
    let dir = folder.path();
    let mut expected = Expected::default();
    let mut figures = Figures::new();
    let half = Duration::from_secs(u64::from(args.seconds)) / 2;
    figures.say(format_args!("{CLIENTS} clients on a new store in {}", dir.display()));
    work(&args, dir, 0, half, &mut expected, &mut figures)?;
    figures.say("the worker was killed with SIGKILL; starting it again on what it left");
    work(&args, dir, 1, half, &mut expected, &mut figures)?;
    figures.say("killed again; checking every acknowledged message");
    let data = cli::Data::of(dir);
    let verdict = session::with_store(&data, async |messages| check(&messages, &mut expected).await)?;
    let Verdict {
        missing,
        duplicated,
        revived,
        unexpected,
    } = verdict;
    let mut output = Output::new();
    output.object(&Summary {
        acknowledged: expected.acknowledged,
        missing,
        revived,
        recovered: verdict.is_clean(),
    })?;
    output.flush()?;
    if verdict.is_clean() {
        Ok(())
    } else {
        Err(Failure::new(format_args!(
            "of {} acknowledged writes {missing} are missing, {duplicated} are there twice, {revived} deleted messages are \
             back, {unexpected} are not as sent; the store is in {}",
            expected.acknowledged,
            folder.keep().display()
        )))
    }
}

/// A worker that ends with whoever started it.
struct Worker(Child);

impl Worker {
    /// Sends SIGKILL and waits for the end.
    fn kill(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs the worker for a while and kills it.
fn work(
    args: &cli::Demo,
    dir: &Path,
    start: u32,
    time: Duration,
    expected: &mut Expected,
    figures: &mut Figures,
) -> Done {
    let program =
        std::env::current_exe().map_err(|e| Failure::new(format_args!("this program cannot be found: {e}")))?;
    let mut command = Command::new(program);
    command.arg("demo-worker").arg("--data").arg(dir);
    for (option, value) in [
        ("--seed", args.seed),
        ("--clients", u64::from(CLIENTS)),
        ("--start", u64::from(start)),
    ] {
        command.arg(option).arg(value.to_string());
    }
    if let Some(shards) = args.shards {
        command.arg("--shards").arg(shards.to_string());
    }
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut worker = Worker(spawned.map_err(|e| Failure::new(format_args!("the worker cannot be started: {e}")))?);
    let mut pipe = Pipe::new(worker.0.stdout.take().expect("asked for above"));
    let mut run = Run::new(args.seed, start, CLIENTS, CHANNELS);
    let (spawned, mut ready) = (Instant::now(), None);
    loop {
        let open = pipe
            .fill(LOOK_EVERY)
            .map_err(|e| Failure::new(format_args!("the worker's pipe: {e}")))?;
        take(&mut pipe, &mut run, expected, figures, &mut ready, start)?;
        figures.tell();
        if !open {
            let status = worker
                .0
                .wait()
                .map_or_else(|e| e.to_string(), |status| status.to_string());
            return Err(Failure::new(format_args!("the worker ended by itself ({status})")));
        }
        match ready {
            Some(ready) if Instant::now().duration_since(ready) >= time => break,
            None if spawned.elapsed() >= READY_WITHIN => {
                return Err(Failure::new("the worker does not open its store"));
            }
            _ => {}
        }
    }
    worker.kill();
    // What it had written into the pipe was acknowledged.
    while pipe
        .fill(LOOK_EVERY)
        .map_err(|e| Failure::new(format_args!("the worker's pipe: {e}")))?
    {}
    take(&mut pipe, &mut run, expected, figures, &mut ready, start)?;
    run.killed(expected);
    Ok(())
}

/// Takes the whole lines that are in the pipe.
fn take(
    pipe: &mut Pipe,
    run: &mut Run,
    expected: &mut Expected,
    figures: &mut Figures,
    ready: &mut Option<Instant>,
    start: u32,
) -> Done {
    while let Some(line) = pipe.line() {
        match run.hear(expected, line).map_err(Failure::new)? {
            Some(op) => figures.count(op),
            None => {
                *ready = Some(Instant::now());
                if start > 0 {
                    figures.say("recovered");
                }
            }
        }
    }
    Ok(())
}

/// Reads every channel and compares it with what must be there.
async fn check(messages: &Messages, expected: &mut Expected) -> Done<Verdict> {
    let mut sum = Verdict::default();
    for channel in 0..CHANNELS {
        let mut found = Vec::new();
        if let Some(id) = messages.find(NameKind::Channel, channel_name(channel)).await? {
            let mut history = History::newest(PAGE);
            loop {
                let page = messages.history(id, history).await?;
                for message in page.messages() {
                    let message = message?;
                    found.push((message.id, message.content.to_owned()));
                }
                match page.next()? {
                    Some(next) => history = next,
                    None => break,
                }
            }
        }
        sum += expected.check(channel, &found);
    }
    Ok(sum)
}
