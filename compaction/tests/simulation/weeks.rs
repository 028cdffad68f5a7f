//! Sixty days of load in a second: a flush each hour, all jobs after each, and what it comes to.
//!
//! The bounds are those of the formulas beside them; with `--nocapture` each test prints what it measured.

use super::model::*;
use scrollback_compaction::*;

const DAYS: u32 = 60;
const HOURS: u32 = DAYS * 24;
/// What a flush writes, within a tenth.
const FLUSH: u64 = 64 * MIB;

fn time_tiered() -> Options {
    Options::of(Strategy::TimeTiered(TimeTiered::default()))
}

fn time_window() -> Options {
    Options::of(Strategy::TimeWindow(TimeWindow::default()))
}

fn piece(bytes: u64, shadowed_bytes: u64) -> Piece {
    Piece { bytes, shadowed_bytes }
}

/// A table and its load.
struct Load {
    table: Table,
    numbers: Numbers,
    epoch_hours: u32,
    /// Bytes that were written and not deleted.
    live: u64,
    units_max: usize,
    /// The largest of bytes on disk to bytes that live.
    space_max: f64,
}

impl Load {
    fn new(options: Options, epoch_hours: u32) -> Load {
        Load {
            table: Table::new(options),
            numbers: Numbers(5),
            epoch_hours,
            live: 0,
            units_max: 0,
            space_max: 0.0,
        }
    }

    fn epoch(&self) -> i64 {
        self.table.now.first_open_epoch.0
    }

    /// The hour begins: a flush of the open epoch, of rows that expire at `end`.
    fn flush(&mut self, hour: u32, end: u32) {
        let epoch = i64::from(hour / self.epoch_hours);
        self.table.now.seconds = hour * HOUR_S;
        self.table.now.first_open_epoch = Epoch(epoch);
        let bytes = self.numbers.between(FLUSH * 9 / 10, FLUSH * 11 / 10);
        self.table.flush(Pieces::from([((epoch, end), piece(bytes, 0))]), false);
        self.live += bytes;
    }

    /// A late file of `percent` of a flush: half of it for the epoch before, the rest for any of ten before; each byte makes
    /// `shadows` others useless.
    fn flush_late(&mut self, percent: u64, shadows: u64) {
        let epoch = self.epoch() as u64;
        if epoch == 0 {
            return;
        }
        let mut pieces = Pieces::new();
        for nth in 0..100 {
            let any = self.numbers.between(1, epoch.min(10) + 1);
            let back = if nth % 2 == 0 { 1 } else { any };
            let bytes = FLUSH * percent / 10_000;
            let sum = pieces.entry(((epoch - back) as i64, FOR_EVER)).or_insert(piece(0, 0));
            *sum = piece(sum.bytes + bytes, sum.shadowed_bytes + bytes * shadows);
            self.live = self.live + bytes - bytes * shadows;
        }
        self.table.flush(pieces, true);
    }

    fn compact(&mut self) {
        self.table.compact();
        self.units_max = self.units_max.max(self.table.units().len());
        self.space_max = self.space_max.max(self.table.bytes() as f64 / self.live as f64);
    }

    /// Bytes of bases that were rewritten when more than three epochs had begun since theirs.
    fn cold_bytes(&self) -> u64 {
        let cold = self.table.rewritten.iter().filter(|(epoch, open, _)| open - epoch > 3);
        cold.map(|(_, _, bytes)| bytes).sum()
    }

    fn print(&self, name: &str) {
        let (wa, units) = (self.table.write_amplification(), self.table.units().len());
        let (most, space) = (self.units_max, self.space_max);
        let written = &self.table.written;
        println!("{name}: write amplification {wa:.2}, space {space:.3}, {units} units, {most} at most, {written:?}");
    }
}

fn log(base: u32, of: u32) -> f64 {
    f64::from(of.ilog(base))
}

/// Of a `part` of late bytes each is flushed, tiered (log of the files to the base 4: mixed, and by epoch), split, and merged with four
/// bytes of its epoch, which is 7 and twice the logarithm. The others are flushed, tiered by sixteen, and settle.
fn with_late(part: f64, epoch_hours: u32) -> f64 {
    (1.0 - part) * (2.0 + log(16, epoch_hours)) + part * (7.0 + 2.0 * log(4, HOURS))
}

/// A byte is flushed, and merged once for each tier that four files fill: log(files) to the base 4.
#[test]
fn size_tiered_writes_a_byte_once_for_each_tier() {
    let mut load = Load::new(Options::default(), HOURS);
    for hour in 0..HOURS {
        load.flush(hour, FOR_EVER);
        load.compact();
    }
    load.print("size-tiered");
    let bound = 1.0 + log(4, HOURS);
    let amplification = load.table.write_amplification();
    assert!(amplification <= bound, "{amplification} > {bound}");
    assert!(amplification > bound - 1.0, "{amplification}: what is measured?");
    // Three of a size, in each tier.
    assert!(
        load.units_max <= 3 * (1 + HOURS.ilog(4) as usize),
        "{} units",
        load.units_max
    );
}

/// A byte is flushed, merged once for each tier that sixteen files fill, and written once more when its epoch settles.
#[test]
fn time_tiered_leaves_settled_epochs_alone() {
    for epoch_hours in [24, 240] {
        let mut load = Load::new(time_tiered(), epoch_hours);
        for hour in 0..HOURS {
            load.flush(hour, FOR_EVER);
            load.compact();
            let closed = load.epoch() as usize;
            let units = load.table.units();
            let bases = units
                .values()
                .filter(|unit| unit[0].shares[0].epoch.0 < closed as i64)
                .count();
            assert_eq!(bases, closed, "a closed epoch is not one run");
            let tiers = 1 + epoch_hours.ilog(16) as usize;
            assert!(
                units.len() - closed <= 15 * tiers,
                "{} units in the open epoch",
                units.len() - closed
            );
        }
        load.print("time-tiered");
        assert_eq!(load.cold_bytes(), 0, "cold epochs are rewritten");
        for epoch in 0..load.epoch() {
            let of_epoch = load.table.rewritten.iter().filter(|(of, _, _)| *of == epoch);
            let bytes: u64 = of_epoch.map(|(_, _, bytes)| bytes).sum();
            let base: u64 = load
                .table
                .files
                .iter()
                .filter(|file| file.shares[0].epoch.0 == epoch)
                .map(ModelFile::bytes)
                .sum();
            assert_eq!(bytes, base, "epoch {epoch} was not rewritten once");
        }
        let bound = 2.0 + log(16, epoch_hours);
        let amplification = load.table.write_amplification();
        assert!(
            amplification <= bound && amplification > 2.0,
            "{amplification} > {bound}"
        );
    }
}

#[test]
fn late_data_cost_no_more_than_their_part() {
    for epoch_hours in [24, 240] {
        let mut load = Load::new(time_tiered(), epoch_hours);
        for hour in 0..HOURS {
            load.flush(hour, FOR_EVER);
            load.flush_late(5, 0);
            load.compact();
        }
        load.print("time-tiered, 5 % late");
        let bound = with_late(0.05, epoch_hours);
        let amplification = load.table.write_amplification();
        assert!(amplification <= bound, "{amplification} > {bound}");
        assert_eq!(load.cold_bytes(), 0, "late data of 5 % are not a quarter");
        // One of each closed epoch, late files of six tiers (from 4 MiB on), and those of the open epoch.
        let bound = load.epoch() as usize + 3 * 8 + 15 * (1 + epoch_hours.ilog(16) as usize);
        assert!(load.units_max <= bound, "{} > {bound} units", load.units_max);
    }
}

/// What is deleted stays below a fifth of each epoch, so that no more than 1 / (1 - 0.2) of what lives is on the disk; for that an
/// epoch is written once more for each fifth of it that is deleted.
#[test]
fn deletions_free_their_space() {
    for (epoch_hours, shadows) in [(24, 4), (240, 4), (24, 8), (240, 8)] {
        let mut load = Load::new(time_tiered(), epoch_hours);
        for hour in 0..HOURS {
            load.flush(hour, FOR_EVER);
            load.flush_late(5, shadows);
            load.compact();
        }
        let deleted = 0.05 * shadows as f64;
        load.print(&format!("time-tiered, 5 % late, {deleted} deleted"));
        assert!(load.space_max <= 1.25, "{} times the bytes that live", load.space_max);
        assert!(load.space_max > 1.05, "{}: what is measured?", load.space_max);
        let amplification = load.table.write_amplification();
        let bound = with_late(0.05, epoch_hours) + deleted / 0.2;
        assert!(amplification <= bound, "{amplification} > {bound}");
        // Late files of each epoch, too.
        let bound = 4 * load.epoch() as usize + 3 * 6 + 15 * (1 + epoch_hours.ilog(16) as usize);
        assert!(load.units_max <= bound, "{} > {bound} units", load.units_max);
    }
}

/// An epoch that grows by late data is rewritten for each quarter that it grows by, and no other one is.
#[test]
fn late_data_rewrite_their_own_epoch() {
    let mut load = Load::new(time_tiered(), 24);
    for hour in 0..HOURS {
        load.flush(hour, FOR_EVER);
        if hour >= 30 * 24 {
            load.table.flush(
                Pieces::from([((5, FOR_EVER), piece(FLUSH / 10, 0)), ((7, FOR_EVER), piece(100, 0))]),
                true,
            );
        }
        load.compact();
    }
    load.print("time-tiered, one epoch late");
    let cold = |epoch| {
        load.table
            .rewritten
            .iter()
            .filter(move |(of, open, _)| *of == epoch && open - of > 3)
    };
    assert!(
        (0..60).all(|epoch| epoch == 5 || cold(epoch).next().is_none()),
        "another epoch is rewritten"
    );
    // From 24 flushes to 24 + 72 of them: 1.25 to the power of 6.2. Fragments of one base are counted each.
    let mut at: Vec<i64> = cold(5).map(|(_, open, _)| *open).collect();
    at.dedup();
    assert!((3..=7).contains(&at.len()), "rewritten in {at:?}");
}

/// Old messages that come all at once, in order of time or of all times: each byte is flushed, split, tiered, and settles. Sixteen are
/// merged at a time; files of up to 50 MiB count as of one size, which costs a tier more.
#[test]
fn an_import_settles_when_it_is_over() {
    for in_order in [true, false] {
        let mut load = Load::new(time_tiered(), 24);
        load.table.now.first_open_epoch = Epoch(i64::from(DAYS));
        for nth in 0..HOURS {
            load.table.now.seconds += 60;
            let mut pieces = Pieces::new();
            for _ in 0..100 {
                let any = load.numbers.between(0, DAYS.into()) as i64;
                let epoch = if in_order { i64::from(nth / 24) } else { any };
                pieces.entry((epoch, FOR_EVER)).or_insert(piece(0, 0)).bytes += FLUSH / 100;
            }
            load.live += FLUSH / 100 * 100;
            load.table.flush(pieces, true);
            load.compact();
        }
        load.table.now.seconds += 600;
        load.compact();
        load.print("time-tiered, import");
        let settled = load.table.files.iter().filter(|file| !file.late);
        let settled: u64 = settled.map(ModelFile::bytes).sum();
        let part = settled as f64 / load.live as f64;
        assert!(part > if in_order { 0.999 } else { 0.8 }, "{part} has settled");
        let amplification = load.table.write_amplification();
        let bound = if in_order {
            2.0 + log(16, 24)
        } else {
            4.0 + log(16, HOURS)
        };
        assert!(amplification <= bound, "{amplification} > {bound}");
    }
}

/// Bytes live for seven days, and are dropped with the last of their window and its grace. Each is flushed, tiered in its
/// window, and merged when that is over.
#[test]
fn time_windows_level_off() {
    let mut load = Load::new(time_window(), HOURS);
    let mut at_midnight = Vec::new();
    for hour in 0..HOURS {
        load.flush(hour, (hour + 7 * 24) * HOUR_S);
        load.compact();
        let hours_max = 7 * 24 + 24 + 2;
        assert!(
            load.table.bytes() <= hours_max * FLUSH * 11 / 10,
            "{} bytes",
            load.table.bytes()
        );
        if hour % 24 == 0 {
            at_midnight.push(load.table.bytes());
        }
    }
    load.print("time-window");
    let last = &at_midnight[at_midnight.len() - 10..];
    let (min, max) = (last.iter().min().unwrap(), last.iter().max().unwrap());
    assert!(*max as f64 <= 1.05 * *min as f64, "{last:?}");
    // A byte is on disk for one window more than it lives; each window is one unit, the newest three of each tier.
    assert!(
        load.units_max <= 7 + 2 + 3 * (1 + 24u32.ilog(4) as usize),
        "{} units",
        load.units_max
    );
    let bound = 2.0 + log(4, 24);
    let amplification = load.table.write_amplification();
    assert!(amplification <= bound, "{amplification} > {bound}");
    assert_eq!(load.table.written.by_kind["drop"], 0);
}

/// Files of all ages are merged with each other, so that few are dropped; what is dead in them is found by its histogram.
#[test]
fn size_tiered_with_ttl_levels_off() {
    let mut options = Options::default();
    options.tombstones.unchecked = true;
    let mut load = Load::new(options, HOURS);
    let mut bytes = Vec::new();
    for hour in 0..HOURS {
        load.flush(hour, (hour + 7 * 24) * HOUR_S);
        load.compact();
        bytes.push(load.table.bytes());
    }
    load.print("size-tiered, seven days to live");
    let last = &bytes[bytes.len() - 240..];
    let max = *last.iter().max().unwrap();
    // What lives, and a fifth of each file that may be dead, and what dies within the interval of a day.
    assert!(
        max as f64 <= (7.0 + 1.0) * 24.0 * 1.1 * FLUSH as f64 / 0.8,
        "{}",
        max / FLUSH
    );
    assert!(load.table.written.by_kind["tombstones"] > 0);
}

/// Whatever wrote the files, each strategy goes on from them, and comes to an end.
#[test]
fn strategies_change_while_the_table_runs() {
    let mut load = Load::new(Options::default(), 24);
    let strategies = [
        Options::default,
        time_tiered,
        time_window,
        time_tiered,
        time_window,
        Options::default,
        time_tiered,
    ];
    for (nth, strategy) in (0..).zip(strategies) {
        load.table.options = strategy();
        for hour in nth * 240..(nth + 1) * 240 {
            load.flush(hour, FOR_EVER);
            load.flush_late(5, 1);
            load.compact();
        }
    }
    load.print("strategies that change");
    // The last one was time-tiered: all that lies in a closed epoch is found in one place, but for late data.
    let mut late = 0;
    for epoch in 0..load.epoch() {
        let units = load.table.units();
        let of_epoch = |unit: &Vec<&ModelFile>| -> u64 {
            let shares = unit.iter().flat_map(|file| &file.shares);
            shares
                .filter(|share| share.epoch.0 == epoch)
                .map(|share| share.bytes)
                .sum()
        };
        let amounts: Vec<u64> = units.values().map(of_epoch).collect();
        let (sum, max): (u64, u64) = (amounts.iter().sum(), *amounts.iter().max().unwrap());
        late += sum - max;
        assert!(
            max as f64 >= 0.7 * sum as f64,
            "epoch {epoch}: {max} of {sum} in one place"
        );
    }
    assert!((late as f64) < 0.1 * load.table.bytes() as f64, "{late} bytes are late");
}
