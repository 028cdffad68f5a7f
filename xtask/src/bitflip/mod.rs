//! `cargo xtask bitflip`: the bits of a small file of each kind, flipped one at a time.
//!
//! 1. A store on the simulated disk writes all kinds of things and loses its power (`store`). Its manifest, its log segments
//!    and its sstable are the files.
//! 2. Every bit is flipped in memory, and the readers of whole files judge the bytes: what `scrollback check` goes by.
//! 3. One bit of every byte that is not zero, and of some that are, is flipped on the simulated disk, and the store is opened
//!    on it and read whole: the way that a running program goes.
//! 4. Each flip must be detected. Apart from those are counted flips in the records after the last vouched position, which
//!    nobody was told are durable, and, in 3, flips of the constant at an sstable's beginning, which no reader needs.

mod files;
mod store;

use serde_json::{Value, json};

use crate::clock::Stopwatch;
use crate::sim::pool::{guard, pool};
use files::{Fate, Image, Kind, Victim};

/// What `cargo xtask bitflip` is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Flips tried at the same time; as many as there are cores if it is not given.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

/// Bytes of which the bits are flipped in one go.
const SPAN_BYTES: usize = 64;
/// Of bytes that are zero, one in so many is flipped in a store that is opened.
const ZEROS_OPENED: usize = 32;
/// Flips told one by one.
const TOLD_MAX: u64 = 20;

/// What became of some flips.
#[derive(Clone, Copy, Default)]
struct Tally {
    flipped: u64,
    detected: u64,
    after_vouched: u64,
    unread: u64,
    undetected: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.flipped += other.flipped;
        self.detected += other.detected;
        self.after_vouched += other.after_vouched;
        self.unread += other.unread;
        self.undetected += other.undetected;
    }

    fn json(self) -> Value {
        json!({
            "bits": self.flipped,
            "detected": self.detected,
            "after_vouched": self.after_vouched,
            "unread": self.unread,
            "undetected": self.undetected,
        })
    }
}

/// Runs what was asked; true if no flip went unnoticed.
pub(crate) fn run(options: &Options) -> bool {
    let jobs = options
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1);
    let clock = Stopwatch::start();
    let image = match guard(Image::make).and_then(|made| made) {
        Ok(image) => image,
        Err(why) => {
            eprintln!("{why}");
            println!("{}", json!({ "undetected": null, "status": "failed" }));
            return false;
        }
    };
    let mut line = serde_json::Map::new();
    let (mut told, mut undetected) = (0, 0);
    for kind in Kind::ALL {
        let (mut verified, mut opened, mut bytes) = (Tally::default(), Tally::default(), 0);
        for victim in image.victims.iter().filter(|victim| victim.kind == kind) {
            let (path, file) = &image.files[victim.nth];
            bytes += file.len();
            let spans = file.len().div_ceil(SPAN_BYTES) as u64;
            let each = |nth| (span(&image, victim, nth as usize), None);
            let add = |_, done: Span| {
                verified.add(done.verified);
                opened.add(done.opened);
                for (byte, bit, what) in done.undetected {
                    told += 1;
                    if told <= TOLD_MAX {
                        eprintln!("{}: bit {bit} of byte {byte}: {what}", path.display());
                    }
                }
            };
            pool(0..spans, jobs, each, add);
        }
        undetected += verified.undetected + opened.undetected;
        eprintln!("{}: {} {}", kind.name(), verified.json(), opened.json());
        let mut figures = verified.json();
        figures["bytes"] = json!(bytes);
        figures["opened"] = opened.json();
        line.insert(kind.name().to_owned(), figures);
    }
    line.insert("undetected".to_owned(), json!(undetected));
    line.insert(
        "seconds".to_owned(),
        json!((clock.elapsed().as_secs_f64() * 10.0).round() / 10.0),
    );
    line.insert(
        "status".to_owned(),
        json!(if undetected == 0 { "ok" } else { "failed" }),
    );
    println!("{}", Value::Object(line));
    undetected == 0
}

/// What became of the flips in one stretch of a file.
#[derive(Default)]
struct Span {
    verified: Tally,
    opened: Tally,
    undetected: Vec<(usize, u32, String)>,
}

fn span(image: &Image, victim: &Victim, nth: usize) -> Span {
    let mut done = Span::default();
    let mut files = image.files.clone();
    let len = files[victim.nth].1.len();
    for byte in nth * SPAN_BYTES..len.min((nth + 1) * SPAN_BYTES) {
        let is_zero = files[victim.nth].1[byte] == 0;
        let opened_bit = (!is_zero || byte % ZEROS_OPENED == 0).then_some((byte % 8) as u32);
        for bit in 0..8 {
            files[victim.nth].1[byte] ^= 1 << bit;
            let fate = guard(|| image.verify(&files, victim, byte)).and_then(|fate| fate);
            count(&mut done.verified, fate, &mut done.undetected, byte, bit);
            if opened_bit == Some(bit) {
                let fate = guard(|| image.judge(store::open(&files), victim, byte)).and_then(|fate| fate);
                count(&mut done.opened, fate, &mut done.undetected, byte, bit);
            }
            files[victim.nth].1[byte] ^= 1 << bit;
        }
    }
    done
}

fn count(
    tally: &mut Tally,
    fate: Result<Fate, String>,
    undetected: &mut Vec<(usize, u32, String)>,
    byte: usize,
    bit: u32,
) {
    tally.flipped += 1;
    match fate {
        Ok(Fate::Detected) => tally.detected += 1,
        Ok(Fate::AfterVouched) => tally.after_vouched += 1,
        Ok(Fate::Unread) => tally.unread += 1,
        Err(what) => {
            tally.undetected += 1;
            undetected.push((byte, bit, what));
        }
    }
}
