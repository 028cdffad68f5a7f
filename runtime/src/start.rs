//! Starting and stopping a node's shards.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::checks;
use crate::context::{self, ShardId};
use crate::error::Error;
use crate::handle::{Handle, INBOX_BOUND, Inbox};
use crate::node::Node;
use crate::real::{self, BodyKind, Ending, Settings, panic_message};
use crate::threads;
use crate::uring;

/// How often every shard is woken in any case, so that even a lost wake-up ends.
const PING: Duration = Duration::from_millis(250);

/// How the shards are started.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many shards: 1 to 4096.
    pub shards: usize,
    /// Whether each shard stays on one core. Only when there are at least as many cores as shards.
    pub pin: bool,
    /// What the shards run on; `None`: io_uring where it is to be had, else plain threads. Default `None`.
    pub body: Option<BodyKind>,
    /// Arena for direct I/O per shard, in bytes; less if locked memory is scarce. Default 16 MiB. Plain threads have none.
    pub io_memory_bytes: usize,
    /// Whether plain threads use direct I/O where the file system has it; else everything goes through the kernel's cache.
    /// io_uring always does. Default true.
    pub direct_io: bool,
    /// How long an idle shard spins before it sleeps; at most 20 us. Default 0. Ignored unless pinned.
    pub spin_before_park: Duration,
    /// What the shards' threads are called, before their number.
    pub name: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: 1,
            pin: false,
            body: None,
            io_memory_bytes: 16 << 20,
            direct_io: true,
            spin_before_park: Duration::ZERO,
            name: "shard".to_owned(),
        }
    }
}

/// The running shards of one node. Dropping it stops them.
pub struct Runtime {
    node: Arc<Node>,
    body: BodyKind,
    threads: Vec<(ShardId, JoinHandle<Ending>)>,
    pinger: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("shards", &self.node.shards())
            .field("body", &self.body)
            .finish()
    }
}

impl Runtime {
    /// Starts the shards, each on its own thread, and connects them.
    ///
    /// # Errors
    /// [`Error::Start`], one plain sentence; nothing is left running.
    /// # Panics
    /// On a shard, and with a number of shards out of range.
    pub fn start(options: Options) -> Result<Runtime, Error> {
        assert!(
            (1..=4096).contains(&options.shards),
            "{} shards are not 1 to 4096",
            options.shards
        );
        assert!(context::try_current().is_none(), "a node is started outside of shards");
        let (body, _) = checks::choose(options.shards, options.body)?;
        let (seeds, io_memory_bytes) = match body {
            BodyKind::Uring => {
                let memory = checks::io_memory(options.shards, options.io_memory_bytes).map_err(Error::Start)?;
                (uring::seeds(options.shards), memory.bytes_per_shard)
            }
            BodyKind::Threads => (threads::seeds(options.shards), 0),
        };
        let cpus = checks::cpus();
        let pin = options.pin && cpus.len() >= options.shards;

        let mut inboxes = Vec::new();
        let mut lives = Vec::new();
        for (number, seed) in seeds.into_iter().enumerate() {
            let id = ShardId(number as u16);
            inboxes.push(Arc::new(Inbox::new(id, INBOX_BOUND, false, seed.nudge)));
            lives.push((id, seed.live));
        }
        let node = Arc::new(Node::new(inboxes.into()));
        let mut runtime = Runtime {
            node: Arc::clone(&node),
            body,
            threads: Vec::new(),
            pinger: None,
        };
        let (ready, readiness) = mpsc::channel();
        for (id, live) in lives {
            let settings = Settings {
                id,
                cpu: if pin {
                    cpus.get(usize::from(id.0)).copied()
                } else {
                    None
                },
                io_memory_bytes,
                direct_io: options.direct_io,
                spin_before_park: options.spin_before_park.min(Duration::from_micros(20)),
                name: format!("{}-{id}", options.name),
            };
            let (node, ready) = (Arc::clone(&node), ready.clone());
            let thread = std::thread::Builder::new().name(settings.name.clone());
            match thread.spawn(move || real::run(live, settings, &node, &ready)) {
                Ok(thread) => runtime.threads.push((id, thread)),
                // The other shards' connections end when what is left of `lives` is dropped; dropping `runtime` stops them.
                Err(error) => {
                    return Err(Error::Start(format!(
                        "a thread for shard {id} can't be started: {error}"
                    )));
                }
            }
        }
        drop(ready);
        // Before the shards are there: they are woken while they connect as well.
        runtime.pinger = Some(start_pinger(&options.name, node)?);
        for _ in 0..options.shards {
            match readiness.recv() {
                Ok(Ok(())) => {}
                Ok(Err(sentence)) => return Err(Error::Start(sentence)),
                Err(_) => return Err(Error::Start("a shard ended before it was there".to_owned())),
            }
        }
        Ok(runtime)
    }

    /// What the shards run on.
    pub fn body(&self) -> BodyKind {
        self.body
    }

    /// A handle for calls into the shards.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(self.node.inboxes()))
    }

    /// Stops the shards: drops the tasks that are left, and their connections, waits for the disk operations in flight, joins the threads.
    ///
    /// Call it only after the own tasks are closed: what they have not written is not written.
    ///
    /// # Errors
    /// [`Error::Panicked`]: a shard had panicked.
    /// # Panics
    /// On a shard.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        assert!(
            context::try_current().is_none(),
            "a node is stopped from outside of shards"
        );
        self.node.stop();
        let mut result = Ok(());
        for (shard, thread) in self.threads.drain(..) {
            let ending = thread
                .join()
                .unwrap_or_else(|payload| Ending::Panicked(panic_message(&*payload)));
            if let (Ending::Panicked(message), Ok(())) = (ending, &result) {
                result = Err(Error::Panicked { shard, message });
            }
        }
        if let Some((stop, pinger)) = self.pinger.take() {
            drop(stop);
            // It holds nothing that could panic.
            let _ = pinger.join();
        }
        result
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            let _ = self.end();
        }
    }
}

/// The plain thread that wakes every shard a few times a second; it ends when the sender is dropped.
fn start_pinger(name: &str, node: Arc<Node>) -> Result<(mpsc::Sender<()>, JoinHandle<()>), Error> {
    let (stop, stopped) = mpsc::channel();
    let thread = std::thread::Builder::new().name(format!("{name}-ping"));
    let pinger = thread.spawn(move || {
        while stopped.recv_timeout(PING) == Err(mpsc::RecvTimeoutError::Timeout) {
            node.nudge_all();
        }
    });
    let pinger = pinger.map_err(|error| Error::Start(format!("a thread can't be started: {error}")))?;
    Ok((stop, pinger))
}
