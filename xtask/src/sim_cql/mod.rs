//! `cargo xtask sim-cql`: histories of the server's sessions on the simulated disk, drawn from seeds.
//!
//! Several sessions on several shards are asked by frames, and answer with frames; no socket is in between. Several clients write, read, set
//! conditions and page at once, by texts and by prepared statements, while another creates, alters, truncates and drops tables, flushes and
//! compacts. Power is cut or the process killed in between; the store is opened again, also with another number of shards, the batch log is
//! replayed, and all is looked at.
//!
//! - `client`: frames to sessions and back. `work`: what clients do. `define`: changes of definitions.
//! - `truth`: what is known, and the judge. `cas`: the same of conditional writes.

mod cas;
mod client;
mod define;
mod truth;
mod work;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use cql::language::ddl::Topology;
use engine::{Config, Store};
use runtime::sim::{self, Outcome, Sim, Tear};
use runtime::{Break, Handle};
use scrollback_server::protocol::{self, Identity, Node};
use serde_json::{Value, json};

use crate::clock::Stopwatch;
use crate::rng::Rng;
use crate::sim::command::{parse_break, parse_seeds, set_break};
use crate::sim::pool::{Failure, guard, pool};
use crate::sim::run::{Local, crowd};
use cas::{COUNTERS, ONCE};
use client::{Connection, Server};
use define::Definer;
use truth::{Counts, PARTITIONS, Shared, TABLES};
use work::Worker;

const DIRECTORY: &str = "/store";
const SHARDS_MAX: usize = 4;
/// Each so-manieth seed runs twice, to see that it is one history.
const TWICE_EVERY: u64 = 50;

/// What `cargo xtask sim-cql` is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seeds to run: from A up to B, without B.
    #[arg(long, value_name = "A..B", default_value = "0..200", value_parser = parse_seeds)]
    seeds: std::ops::Range<u64>,
    /// Leaves out one line that must not be missing, as `cargo xtask sim --list-breaks` has them.
    #[arg(long = "break", value_name = "NAME", value_parser = parse_break)]
    broken: Option<Break>,
    /// Tries every deliberate break of the server; ends with status 0 when each is noticed.
    #[arg(long, conflicts_with = "broken")]
    each_break: bool,
    /// Seeds that run at the same time; as many as there are cores if it is not given.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

/// Runs what was asked; true if all is as it must be.
pub(crate) fn run(options: Options) -> bool {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = options.jobs.unwrap_or_else(cores).max(1);
    if options.each_break {
        return each_break(&options.seeds, jobs);
    }
    let (failure, mut line, met_enough) = run_seeds(options.seeds, jobs, options.broken);
    if let Some(failure) = &failure {
        let with = options
            .broken
            .map_or_else(String::new, |broken| format!(" --break {}", broken.name()));
        eprintln!("seed {}: {}", failure.nth, failure.what);
        eprintln!(
            "repeat: cargo xtask sim-cql --seeds {0}..{1}{with}",
            failure.nth,
            failure.nth + 1
        );
    } else if !met_enough {
        eprintln!("hardly any crashes, replayed batches, other numbers of shards, definitions or pages were met");
    }
    line["break"] = json!(options.broken.map(Break::name));
    println!("{line}");
    failure.is_none() && (met_enough || options.broken.is_some())
}

/// Every break must be noticed within the seeds.
fn each_break(seeds: &std::ops::Range<u64>, jobs: usize) -> bool {
    let (mut noticed, mut missed) = (serde_json::Map::new(), Vec::new());
    for broken in Break::OF_SERVER {
        match run_seeds(seeds.clone(), jobs, Some(broken)).0 {
            Some(failure) => {
                let what = failure.what.lines().next().unwrap_or_default();
                eprintln!("{}: noticed by seed {}: {what}", broken.name(), failure.nth);
                noticed.insert(broken.name().to_owned(), json!(failure.nth));
            }
            None => {
                eprintln!("{}: NOT noticed in {} seeds", broken.name(), seeds.end - seeds.start);
                missed.push(broken.name());
            }
        }
    }
    println!("{}", json!({ "noticed_by_seed": noticed, "missed": missed }));
    missed.is_empty()
}

fn run_seeds(seeds: std::ops::Range<u64>, jobs: usize, broken: Option<Break>) -> (Option<Failure>, Value, bool) {
    let clock = Stopwatch::start();
    let (mut sum, mut seeds_run) = (Met::default(), 0_u64);
    let guarded = |seed| match guard(|| run_seed(seed)) {
        Ok((met, hash, violation)) => (met, hash, violation),
        Err(panic) => (Met::default(), 0, Some(panic)),
    };
    let each = |seed: u64| {
        let (met, hash, mut violation) = guarded(seed);
        if violation.is_none() && seed.is_multiple_of(TWICE_EVERY) && guarded(seed).1 != hash {
            violation = Some("two runs of one seed are two histories".to_owned());
        }
        (met, violation)
    };
    set_break(broken);
    let failure = pool(seeds, jobs, each, |_, met: Met| {
        sum.add(&met);
        seeds_run += 1;
    });
    set_break(None);
    let met = [
        sum.crashes,
        sum.of("definitions"),
        sum.of("steps"),
        sum.of("pages"),
        4 * sum.of("replayed"),
        2 * sum.resharded,
    ];
    let met_enough = seeds_run < 100 || met.iter().all(|met| *met >= seeds_run);
    let mut line = json!({
        "seeds": seeds_run,
        "failed": u64::from(failure.is_some()),
        "failed_seed": failure.as_ref().map(|failure| failure.nth),
        "lives": sum.lives,
        "crashes": sum.crashes,
        "resharded": sum.resharded,
        "ms_per_seed": (clock.elapsed().as_secs_f64() * 1e3 * jobs as f64 / seeds_run.max(1) as f64).round(),
    });
    for (name, count) in &sum.counts {
        line[name] = json!(count);
    }
    (failure, line, met_enough)
}

/// What a seed met, or all of them.
#[derive(Clone, Default)]
struct Met {
    counts: BTreeMap<&'static str, u64>,
    lives: u64,
    crashes: u64,
    resharded: u64,
}

impl Met {
    fn of(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    fn add(&mut self, other: &Met) {
        for (name, count) in &other.counts {
            *self.counts.entry(name).or_default() += count;
        }
        self.lives += other.lives;
        self.crashes += other.crashes;
        self.resharded += other.resharded;
    }
}

/// One seed's course.
struct Course {
    sim: Sim,
    rng: Rng,
    truth: Shared,
    met: Met,
}

fn run_seed(seed: u64) -> (Met, u64, Option<String>) {
    let mut rng = Rng::new(seed ^ 0xC01);
    let tears = [
        Tear::KeepAll,
        Tear::DropAll,
        Tear::TornSectors,
        Tear::Seeded,
        Tear::Seeded,
    ];
    let sim = Sim::new(sim::Config {
        seed,
        shards: rng.within(1..SHARDS_MAX + 1),
        tear: *rng.pick(&tears),
        ..sim::Config::default()
    });
    let mut course = Course {
        sim,
        truth: Shared::default(),
        met: Met::default(),
        rng: rng.fork(),
    };
    let lives = rng.within(2..5);
    let mut violation = None;
    for life in 0..=lives {
        course.live(life == lives);
        let what = course.truth.borrow().violation().cloned();
        if let Some(what) = what {
            let ends = &course.truth.borrow().ends;
            violation = Some(format!(
                "in life {} of {}, which ended at {ends:?}: {what}",
                life + 1,
                lives + 1
            ));
            break;
        }
    }
    course.met.counts = course.truth.borrow().counts.by_name();
    (course.met, course.sim.history_hash(), violation)
}

fn config(rng: &mut Rng) -> Config {
    Config {
        memtable_bytes: 64 << 10,
        block_cache_bytes: *rng.pick(&[0, 16 << 10, 1 << 20]),
        row_cache_bytes: *rng.pick(&[0, 16 << 10, 1 << 20]),
        log_segment_bytes: 64 << 10,
        log_bytes_max: 256 << 10,
        block_bytes: *rng.pick(&[256, 1 << 10, 16 << 10]),
        ..Config::new(DIRECTORY)
    }
}

impl Course {
    /// From a start to a cut or, the last one, a shutdown.
    fn live(&mut self, last: bool) {
        self.met.lives += 1;
        if self.met.lives > 1 && self.rng.chance(1, 3) {
            self.sim.set_shards(self.rng.within(1..SHARDS_MAX + 1));
            self.met.resharded += 1;
        }
        let step_s = *self.rng.pick(&[0, 0, 0, 30, 2_000, 20_000, -5]);
        self.sim.step_wall_clock(step_s * 1_000_000);
        let handle = self.sim.start();
        let opened = Rc::new(Cell::new(None));
        let ops = (!last && self.rng.chance(1, 6)).then(|| self.rng.within(1..80) as u64);
        let look = self.look(handle, Rc::clone(&opened));
        if self.drive(ops, look) && self.truth.borrow().violation().is_none() {
            let server = opened.take().expect("it was looked at");
            let ops = (!last && self.rng.chance(15, 16)).then(|| self.rng.within(20..1_000) as u64);
            let work = self.work(server);
            if self.drive(ops, work) {
                // Nothing was under way.
                match self.rng.chance(1, 2) {
                    true => self.sim.crash(),
                    false => self.sim.stop(),
                }
            }
        }
        self.truth.borrow_mut().crashed();
    }

    /// Drives the clients to their end; false if the cut came before.
    fn drive(&mut self, ops: Option<u64>, client: impl Future<Output = ()> + 'static) -> bool {
        match self.rng.chance(1, 2) {
            true => self.sim.crash_at_op(ops),
            false => self.sim.kill_at_op(ops),
        }
        match self.sim.run(client) {
            Outcome::Done(()) => {
                self.sim.crash_at_op(None);
                self.sim.kill_at_op(None);
                true
            }
            Outcome::Crashed => {
                self.met.crashes += 1;
                false
            }
            Outcome::Stuck(what) => {
                self.truth.borrow_mut().violate(format!("nobody can go on: {what}"));
                false
            }
        }
    }

    /// Opens the store, replays the batch log, sees to it that the tables are there, and looks at everything while nothing is under way.
    fn look(&mut self, handle: Handle, opened: Rc<Cell<Option<Rc<Server>>>>) -> impl Future<Output = ()> + 'static {
        let (config, mut rng) = (config(&mut self.rng), self.rng.fork());
        let truth = Rc::clone(&self.truth);
        async move {
            let looked = async {
                let server = Rc::new(start(handle, config, &truth, &mut rng).await?);
                let mut definer = Definer {
                    server: Rc::clone(&server),
                    rng: rng.fork(),
                };
                definer.find_tables().await?;
                let mut worker = Worker {
                    server: Rc::clone(&server),
                    rng: rng.fork(),
                };
                let at = (0..TABLES.len()).flat_map(|table| (0..PARTITIONS).map(move |p| (table, p)));
                let mut read = Vec::new();
                for at in at {
                    let (asked, rows) = worker.read_raw(at).await?;
                    read.push((asked, rows));
                }
                {
                    let mut truth = truth.borrow_mut();
                    truth.settle(&read);
                    for (asked, rows) in &read {
                        truth.judge(*asked, rows)?;
                    }
                }
                for key in (0..COUNTERS).chain(ONCE..ONCE + 6) {
                    worker.look_at_counter(key).await?;
                }
                truth.borrow_mut().counters.settle();
                opened.set(Some(server));
                Ok::<(), String>(())
            };
            if let Err(what) = looked.await {
                truth.borrow_mut().violate(format!("the look after a start: {what}"));
            }
        }
    }

    /// The clients of one life, and a shutdown when they are done.
    fn work(&mut self, server: Rc<Server>) -> impl Future<Output = ()> + 'static {
        let steps = self.rng.within(5..40);
        let mut members: Vec<Local<()>> = Vec::new();
        for _ in 0..self.rng.within(2..7) {
            let worker = Worker {
                server: Rc::clone(&server),
                rng: self.rng.fork(),
            };
            members.push(Box::pin(worker.work(steps)));
        }
        let definer = Definer {
            server: Rc::clone(&server),
            rng: self.rng.fork(),
        };
        members.push(Box::pin(definer.work(steps / 4)));
        let (close, rng) = (self.rng.chance(1, 2), self.rng.fork());
        async move {
            crowd(members, rng).await;
            if close && let Err(error) = server.store.close().await {
                server.truth.borrow_mut().violate(format!("the end of a life: {error}"));
            }
        }
    }
}

/// Opens the store and starts a server on it, with a few connections.
async fn start(handle: Handle, config: Config, truth: &Shared, rng: &mut Rng) -> Result<Server, String> {
    let store = Store::open_on(handle, config)
        .await
        .map_err(|error| error.to_string())?;
    let replayed = protocol::replay_batches(&store)
        .await
        .map_err(|error| error.to_string())?;
    truth.borrow_mut().counts.replayed += replayed;
    let texts = protocol::Texts::load(&store).await.map_err(|error| error.to_string())?;
    let identity = Identity {
        cluster: "simulated".to_owned(),
        topology: Topology {
            datacenters: vec!["datacenter1".to_owned()],
        },
        rack: "rack1".to_owned(),
        address: ([127, 0, 0, 1], 9042).into(),
        shard_aware_port: None,
        host_id: uuid::Uuid::nil(),
        shards: store.shards(),
    };
    let node = Node::new(identity, None, texts, Duration::ZERO);
    let connections = (0..rng.within(1..6) as u64).map(|number| Connection {
        number,
        shard: rng.below(usize::from(store.shards())) as u16,
        lz4: rng.chance(1, 4),
    });
    let connections = connections.collect();
    let server = Server::new(store, node, connections, Rc::clone(truth));
    server.start().await?;
    // Whoever asks next finds a wall clock that has gone on.
    sim::client_sleep(Duration::from_micros(50)).await;
    Ok(server)
}

impl Counts {
    fn by_name(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([
            ("answers", self.answers),
            ("prepared", self.prepared),
            ("writes", self.writes),
            ("batches", self.batches),
            ("replayed", self.replayed),
            ("refused", self.refused),
            ("outcome_unknown", self.unknown),
            ("walks", self.walks),
            ("pages", self.pages),
            ("rows", self.rows),
            ("definitions", self.definitions),
            ("steps", self.steps),
        ])
    }
}
