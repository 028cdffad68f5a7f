//! `cargo xtask sim-chat`: histories of chat on the simulated disk, drawn from seeds.
//!
//! Several writers at once make every call of `messages`: sending, also with a nonce and many at once, edits, deletes of one, of many, of a
//! bucket and of a channel, imports, windows that change, pages both ways, followers, snapshots. In between the power is cut or the
//! process killed, also while the store is opened; it is opened again, also with another number of shards and hours later. `truth` judges
//! what is read; at the end the snapshots are opened and judged, too.

mod truth;
mod writer;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use engine::{Config, Store};
use messages::{Error, MessageId, Messages, NONCE_SECONDS, Options as Fixed, Window};
use runtime::sim::{self, Outcome, Sim, Tear};
use runtime::{Break, Handle};
use serde_json::json;

use crate::clock::Stopwatch;
use crate::rng::Rng;
use crate::sim::command::{parse_break, parse_seeds, set_break};
use crate::sim::pool::{guard, pool};
use crate::sim::run::{Local, crowd};
use truth::{Counts, Mark, Truth};
use writer::{FOLLOWED, Kept, Made, SHARED, Stage, Writer, own_channel};

const DIRECTORY: &str = "/store";
const WRITERS_MAX: usize = 4;
const SHARDS_MAX: usize = 4;

/// What `cargo xtask sim-chat` is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seeds to run: from A up to B, without B.
    #[arg(long, value_name = "A..B", default_value = "0..200", value_parser = parse_seeds)]
    seeds: std::ops::Range<u64>,
    /// Leaves out one line that the engine must not lose, as `cargo xtask sim` has them.
    #[arg(long = "break", value_name = "NAME", value_parser = parse_break)]
    broken: Option<Break>,
    /// Seeds that run at the same time; as many as there are cores if it is not given.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

/// Runs the seeds; true if none failed and they met what they are there for.
pub(crate) fn run(options: Options) -> bool {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = options.jobs.unwrap_or_else(cores).max(1);
    let clock = Stopwatch::start();
    let (mut sum, mut seeds) = (Met::default(), 0_u64);
    let each = |seed| match guard(|| run_seed(seed)) {
        Ok((met, violation)) => (met, violation),
        Err(panic) => (Met::default(), Some(panic)),
    };
    set_break(options.broken);
    let failure = pool(options.seeds, jobs, each, |_, met: Met| {
        sum.add(met);
        seeds += 1;
    });
    set_break(None);
    if let Some(failure) = &failure {
        eprintln!("seed {}: {}", failure.nth, failure.what);
    }
    let counts = &sum.counts;
    let met = [
        sum.crashes,
        sum.snapshots_opened,
        counts.windows,
        counts.wide_deletes,
        counts.told,
        sum.resharded,
    ];
    let too_few = failure.is_none() && seeds >= 100 && met.iter().any(|met| 2 * met < seeds);
    if too_few {
        eprintln!(
            "hardly any crashes, snapshots, windows, wide deletes, followers or other numbers of shards were met"
        );
    }
    let line = json!({
        "seeds": seeds,
        "failed": u64::from(failure.is_some()),
        "failed_seed": failure.as_ref().map(|failure| failure.nth),
        "break": options.broken.map(Break::name),
        "lives": sum.lives,
        "crashes": sum.crashes,
        "resharded": sum.resharded,
        "sent": counts.sent,
        "imported": counts.imported,
        "edits": counts.edits,
        "deletes": counts.deletes,
        "wide_deletes": counts.wide_deletes,
        "windows": counts.windows,
        "walks": counts.walks,
        "messages_read": counts.messages_read,
        "told": counts.told,
        "gaps": counts.gaps,
        "snapshots": counts.snapshots,
        "snapshots_opened": sum.snapshots_opened,
        "outcome_unknown": counts.unknown,
        "lost_unacknowledged": counts.lost_unanswered,
        "ms_per_seed": (clock.elapsed().as_secs_f64() * 1e3 * jobs as f64 / seeds.max(1) as f64).round(),
    });
    println!("{line}");
    failure.is_none() && !too_few
}

/// What a seed met, or all of them.
#[derive(Clone, Copy, Default)]
struct Met {
    counts: Counts,
    lives: u64,
    crashes: u64,
    resharded: u64,
    snapshots_opened: u64,
}

impl Met {
    fn add(&mut self, other: Met) {
        self.counts.add(other.counts);
        self.lives += other.lives;
        self.crashes += other.crashes;
        self.resharded += other.resharded;
        self.snapshots_opened += other.snapshots_opened;
    }
}

/// A store that was looked at, and the last message of the channel that is followed.
type Opened = (Messages, Option<MessageId>);

fn config(dir: &str, rng: &mut Rng) -> Config {
    Config {
        memtable_bytes: 64 << 10,
        block_cache_bytes: *rng.pick(&[0, 16 << 10, 1 << 20]),
        row_cache_bytes: *rng.pick(&[0, 16 << 10, 1 << 20]),
        log_segment_bytes: 64 << 10,
        log_bytes_max: 256 << 10,
        block_bytes: *rng.pick(&[256, 1 << 10, 16 << 10]),
        ..Config::new(dir)
    }
}

async fn open(handle: Handle, config: Config) -> Result<Messages, Error> {
    let store = Store::open_on(handle, config).await?;
    let fixed = Fixed {
        window: Some(Window::from_hours(2)?),
        ..Fixed::default()
    };
    Messages::over(store, fixed).await
}

fn channels(writers: usize) -> impl Iterator<Item = i64> {
    SHARED.into_iter().chain((0..writers).map(own_channel))
}

/// One seed's course.
struct Course {
    sim: Sim,
    rng: Rng,
    truth: Rc<RefCell<Truth>>,
    writers: Vec<Rc<RefCell<Kept>>>,
    snapshots: Rc<Cell<u64>>,
    made: Rc<RefCell<Vec<Made>>>,
    met: Met,
}

fn run_seed(seed: u64) -> (Met, Option<String>) {
    let mut rng = Rng::new(seed ^ 0xC4A7);
    let sim = Sim::new(sim::Config {
        seed,
        shards: rng.within(1..SHARDS_MAX + 1),
        tear: *rng.pick(&[
            Tear::KeepAll,
            Tear::DropAll,
            Tear::TornSectors,
            Tear::Seeded,
            Tear::Seeded,
        ]),
        ..sim::Config::default()
    });
    let writers = rng.within(2..WRITERS_MAX + 1);
    let mut course = Course {
        sim,
        truth: Rc::default(),
        writers: (0..writers).map(|_| Rc::default()).collect(),
        snapshots: Rc::default(),
        made: Rc::default(),
        met: Met::default(),
        rng: rng.fork(),
    };
    let lives = rng.within(2..6);
    for life in 0..=lives {
        course.live(life == lives);
        let violation = course.truth.borrow().violation().cloned();
        if let Some(what) = violation {
            course.met.counts = course.truth.borrow().counts;
            return (
                course.met,
                Some(format!("in life {} of {}: {what}", life + 1, lives + 1)),
            );
        }
    }
    course.met.counts = course.truth.borrow().counts;
    let violation = course.open_snapshots();
    (course.met, violation)
}

impl Course {
    /// From a start to a cut or, the last one, a shutdown.
    fn live(&mut self, last: bool) {
        self.met.lives += 1;
        if self.rng.chance(1, 3) {
            self.sim.set_shards(self.rng.within(1..SHARDS_MAX + 1));
            self.met.resharded += 1;
        }
        let away_s = *self.rng.pick(&[0, 0, 30, 2_000, 20_000, 200_000]);
        self.sim.step_wall_clock(away_s * 1_000_000);
        if away_s >= 2_000 {
            self.truth.borrow_mut().time_passes();
        }
        if away_s >= i64::from(NONCE_SECONDS) / 2 {
            // Asked for again it might be sent a second time, and rightly.
            self.writers.iter().for_each(|kept| kept.borrow_mut().unanswered = None);
        }
        let handle = self.sim.start();
        let opened = Rc::new(RefCell::new(None));
        let cut_start = !last && self.rng.chance(1, 6);
        let ops = cut_start.then(|| self.rng.within(1..60) as u64);
        let looked = self.look(handle, Rc::clone(&opened));
        if !self.drive(ops, looked) {
            return;
        }
        let Some(opened) = opened.borrow_mut().take() else {
            return;
        };
        let ops = (!last && self.rng.chance(5, 6)).then(|| self.rng.within(20..1_500) as u64);
        let work = self.work(opened);
        if self.drive(ops, work) {
            // Nothing was under way.
            match self.rng.chance(1, 2) {
                true => self.sim.crash(),
                false => self.sim.stop(),
            }
        }
    }

    /// Drives the client to its end; false if the cut came before.
    fn drive(&mut self, ops: Option<u64>, client: impl Future<Output = ()> + 'static) -> bool {
        match self.rng.chance(1, 2) {
            true => self.sim.crash_at_op(ops),
            false => self.sim.kill_at_op(ops),
        }
        let outcome = self.sim.run(client);
        let done = match outcome {
            Outcome::Done(()) => true,
            Outcome::Crashed => {
                self.met.crashes += 1;
                false
            }
            Outcome::Stuck(what) => {
                self.truth.borrow_mut().violate(format!("nobody can go on: {what}"));
                false
            }
        };
        if done {
            self.sim.crash_at_op(None);
            self.sim.kill_at_op(None);
        }
        done
    }

    /// Opens the store, looks at every channel, and settles what is not known.
    fn look(&mut self, handle: Handle, opened: Rc<RefCell<Option<Opened>>>) -> impl Future<Output = ()> + 'static {
        let (config, mut rng) = (config(DIRECTORY, &mut self.rng), self.rng.fork());
        let (stage, writers) = (self.stage(), self.writers.clone());
        async move {
            let truth = Rc::clone(&stage.0);
            let looked = async {
                let messages = open(handle, config).await?;
                let stage = stage.1(messages.clone());
                let unanswered =
                    |kept: &Rc<RefCell<Kept>>| kept.borrow().unanswered.as_ref().map(|(_, mark, ..)| *mark);
                let asked_again: Vec<Mark> = writers.iter().filter_map(unanswered).collect();
                let mut end = None;
                for channel in channels(WRITERS_MAX) {
                    let found = stage.walk(channel, &mut rng).await?;
                    if channel == FOLLOWED {
                        end = found.last().map(|(id, ..)| *id);
                    }
                    stage.truth.borrow_mut().settle(channel, &found, &asked_again);
                }
                for (number, kept) in writers.iter().enumerate() {
                    let (kept, rng) = (Rc::clone(kept), rng.fork());
                    Writer { number, rng, kept }.ask_again(&stage).await?;
                }
                *opened.borrow_mut() = Some((messages, end));
                Ok::<(), Error>(())
            };
            if let Err(error) = looked.await {
                truth.borrow_mut().violate(format!("the look after a start: {error}"));
            }
        }
    }

    /// The writers and followers of one life, and a shutdown when they are done.
    fn work(&mut self, (messages, end): Opened) -> impl Future<Output = ()> + 'static {
        let stage = self.stage().1(messages);
        let steps = self.rng.within(5..60);
        let mut members: Vec<Local<()>> = Vec::new();
        let left = Rc::new(Cell::new(self.writers.len()));
        for (number, kept) in self.writers.iter().enumerate() {
            let (stage, left) = (stage.clone(), Rc::clone(&left));
            let (kept, rng) = (Rc::clone(kept), self.rng.fork());
            members.push(Box::pin(async move {
                Writer { number, rng, kept }.work(&stage, steps).await;
                left.set(left.get() - 1);
                if left.get() == 0 {
                    stage.end().await;
                }
            }));
        }
        members.push(Box::pin(stage.clone().follow(end)));
        let (close, rng, mut looking) = (self.rng.chance(1, 2), self.rng.fork(), self.rng.fork());
        let writers = self.writers.len();
        async move {
            crowd(members, rng).await;
            let ended = async {
                for channel in channels(writers) {
                    stage.look(channel, &mut looking).await?;
                }
                match close {
                    true => stage.messages.close().await,
                    false => Ok(()),
                }
            };
            if let Err(error) = ended.await {
                stage.truth.borrow_mut().violate(format!("the end of a life: {error}"));
            }
        }
    }

    fn stage(&self) -> (Rc<RefCell<Truth>>, impl FnOnce(Messages) -> Stage + use<>) {
        let (truth, life) = (Rc::clone(&self.truth), self.met.lives);
        let (snapshots, made) = (Rc::clone(&self.snapshots), Rc::clone(&self.made));
        let make = move |messages| Stage {
            messages,
            truth,
            life,
            snapshots,
            made,
        };
        (Rc::clone(&self.truth), make)
    }

    /// Opens each snapshot that was made, as a store of its own, and judges it by what was known then.
    fn open_snapshots(&mut self) -> Option<String> {
        for made in self.made.take() {
            let handle = self.sim.start();
            let dir = format!("{DIRECTORY}/snapshots/{}", made.name);
            let (config, mut rng) = (config(&dir, &mut self.rng), self.rng.fork());
            let truth = Rc::new(RefCell::new(made.truth));
            let (judge, name) = (Rc::clone(&truth), made.name);
            let outcome = self.sim.run(async move {
                let opened = async {
                    let messages = open(handle, config).await?;
                    let stage = Stage {
                        messages,
                        truth: Rc::clone(&judge),
                        life: 0,
                        snapshots: Rc::default(),
                        made: Rc::default(),
                    };
                    for channel in channels(WRITERS_MAX) {
                        let found = stage.walk(channel, &mut rng).await?;
                        judge.borrow_mut().judge(&name, channel, &found, made.from, made.to);
                    }
                    stage.messages.close().await
                };
                opened
                    .await
                    .map_err(|error| format!("{name} cannot be opened: {error}"))
            });
            self.sim.stop();
            self.met.snapshots_opened += 1;
            let violation = truth.borrow().violation().cloned();
            match outcome {
                Outcome::Done(Ok(())) if violation.is_none() => {}
                Outcome::Done(Ok(())) => return violation,
                Outcome::Done(Err(what)) => return Some(what),
                Outcome::Crashed => return Some("a crash that nobody asked for".to_owned()),
                Outcome::Stuck(what) => return Some(format!("nobody can go on: {what}")),
            }
        }
        None
    }
}
