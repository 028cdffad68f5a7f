//! A store on disk between two processes: what its files say, and what the program says of it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::judge::Shown;
use super::program::Program;
use crate::rng::Rng;

/// A directory, and the program that works on it.
pub(crate) struct Store<'a> {
    pub program: &'a Program,
    pub dir: PathBuf,
    /// With how many shards every command opens it.
    pub shards: Cell<usize>,
}

/// Numbers of shards that stores are reopened with.
const SHARDS: [usize; 5] = [1, 2, 2, 3, 7];

#[derive(Deserialize)]
struct Checked {
    damaged: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Channel {
    channel: String,
    messages: u64,
}

impl Store<'_> {
    /// The arguments of a command that opens this store, its results as JSON lines.
    pub(crate) fn arguments(&self, command: &str) -> Vec<String> {
        let mut arguments = self.offline(command);
        arguments.extend(["--shards".to_owned(), self.shards.get().to_string()]);
        arguments
    }

    /// The arguments of a command that looks at its files alone.
    fn offline(&self, command: &str) -> Vec<String> {
        let dir = self.dir.to_string_lossy().into_owned();
        [command, "--format", "jsonl", "--data", &dir]
            .map(str::to_owned)
            .to_vec()
    }

    /// At times, the next commands open it with another number of shards.
    pub(crate) fn reshard_at_times(&self, rng: &mut Rng) {
        if rng.chance(1, 2) {
            self.shards.set(*rng.pick(&SHARDS));
        }
    }

    /// The numbers of the sstables that the manifest names. No process has the store open.
    ///
    /// The manifest gets a name only by the last step of a flush, after the file and its directory were synced. So whatever
    /// is here and was not here before, while nothing was left to replay, was flushed by whoever ran in between.
    pub(crate) fn sstables(&self) -> Result<BTreeSet<u64>, String> {
        let path = self.dir.join(engine::manifest::FILE_NAME);
        #[expect(
            clippy::disallowed_methods,
            reason = "reads a store that nobody has open, off every shard"
        )]
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(e) => return Err(format!("{}: it cannot be read: {e}", path.display())),
        };
        let (state, _) = engine::manifest::parse(&bytes)
            .map_err(|damage| format!("{}: damaged at {}: {:?}", path.display(), damage.offset, damage.what))?;
        Ok(state.files.into_keys().collect())
    }

    /// Whether the manifest was written, so that other commands find a store.
    pub(crate) fn is_there(&self) -> bool {
        engine::is_store(&self.dir)
    }

    /// Has the program verify every byte, as the kill has left them. Damage is an error.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut damaged = Vec::new();
        let checked = self.program.run(&self.offline("check"), |line| {
            let checked: Checked = parse(line)?;
            damaged = checked.damaged;
            Ok(())
        });
        if damaged.is_empty() {
            checked
        } else {
            Err(format!("{} is damaged: {damaged:?}", self.dir.display()))
        }
    }

    /// Kills the program while it recovers the store; whether it came to that.
    pub(crate) fn kill_in_recovery(&self, rng: &mut Rng) -> Result<bool, String> {
        let mut process = self.program.start(&self.arguments("stats"))?;
        process.listen(Duration::from_micros(rng.below(80_000) as u64))?;
        process.kill()
    }

    /// The channels, each with its count of messages.
    pub(crate) fn channels(&self) -> Result<BTreeMap<String, u64>, String> {
        let mut channels = BTreeMap::new();
        self.program.run(&self.arguments("channels"), |line| {
            // The last line is the sum.
            if let Ok(Channel { channel, messages }) = parse(line) {
                channels.insert(channel, messages);
            }
            Ok(())
        })?;
        Ok(channels)
    }

    /// The whole history of a channel, oldest first, whichever way it was asked for.
    pub(crate) fn history(&self, channel: &str, way: Way) -> Result<Vec<Shown>, String> {
        let mut arguments = self.arguments("history");
        arguments.extend(["--channel".to_owned(), channel.to_owned(), "--all".to_owned()]);
        arguments.extend(["--page-size".to_owned(), way.page_size.to_string()]);
        if way.oldest_first {
            arguments.push("--oldest-first".to_owned());
        }
        let mut shown = Vec::new();
        self.program.run(&arguments, |line| {
            shown.push(parse(line)?);
            Ok(())
        })?;
        if !way.oldest_first {
            shown.reverse();
        }
        Ok(shown)
    }

    /// Removes it.
    pub(crate) fn remove(self) -> Result<(), String> {
        std::fs::remove_dir_all(&self.dir).map_err(|e| format!("{}: it cannot be removed: {e}", self.dir.display()))
    }
}

/// How a history is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    oldest_first: bool,
    page_size: usize,
}

impl Way {
    /// Both directions, in pages of the default size and in small ones.
    pub(crate) const ALL: [Way; 4] = [
        Self::of(false, 500),
        Self::of(true, 500),
        Self::of(false, 50),
        Self::of(true, 50),
    ];

    const fn of(oldest_first: bool, page_size: usize) -> Self {
        Self {
            oldest_first,
            page_size,
        }
    }

    pub(crate) fn draw(rng: &mut Rng) -> Self {
        Self {
            oldest_first: rng.chance(1, 2),
            page_size: *rng.pick(&[50, 500, 5000]),
        }
    }
}

/// One line of the program.
pub(crate) fn parse<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, String> {
    serde_json::from_str(line).map_err(|e| format!("the program said {line:?}: {e}"))
}
