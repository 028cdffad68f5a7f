//! The partitions that a shard works for most, by reads, writes and bytes: the *Space-Saving* algorithm (Metwally, Agrawal, El
//! Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams, 2005) over one operation in sixteen.
//!
//! A list has a fixed number of counters. A partition without one takes over the smallest, with its count: so a count is never too
//! small, too large by what was taken over at most, and every partition that does more than its share of one counter has one. All
//! counts are halved each minute, so that what was hot is forgotten.

use model::{TableId, Token};
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// Counters of a list: one that has a 256th of all operations is never missed.
const COUNTERS: usize = 256;
/// Partitions of a list that are told.
const TOLD: usize = 10;
/// One operation in so many is counted, as that many: a power of two.
const SAMPLED: u64 = 16;
/// Of a longer key so much is kept.
const KEY_BYTES_MAX: usize = 128;
/// Counts are halved this often.
const HALVED_EVERY: Duration = Duration::from_secs(60);
/// An odd number near 2^64 divided by the golden ratio: its multiples are spread evenly, whatever rhythm the operations have.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// A partition that a shard works much for.
///
/// [`ShardStatistics`](crate::ShardStatistics) shows how to come by it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HotPartition {
    /// Its table.
    pub table: String,
    /// Its key's bytes, the first 128 at most.
    pub key: Vec<u8>,
    /// Operations or bytes of late, estimated from a sample; half of what is older than a minute counts, a quarter of what is
    /// older than two.
    pub amount: u64,
    /// Of these, so many may be another partition's.
    pub error: u64,
}

/// The partitions that a shard works for most, the hottest first: at most ten in each list.
///
/// [`ShardStatistics`](crate::ShardStatistics) shows how to come by it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Hottest {
    /// By pages read, those of joined reads included.
    pub reads: Vec<HotPartition>,
    /// By mutations.
    pub writes: Vec<HotPartition>,
    /// By bytes of both.
    pub bytes: Vec<HotPartition>,
}

/// One list: its counters, what is looked through for each operation apart.
#[derive(Default)]
struct Top {
    tokens: Vec<Token>,
    amounts: Vec<u64>,
    rest: Vec<Rest>,
}

struct Rest {
    table: TableId,
    key: Vec<u8>,
    error: u64,
}

impl Top {
    fn add(&mut self, table: TableId, token: Token, key: &[u8], amount: u64) {
        let key = &key[..key.len().min(KEY_BYTES_MAX)];
        let is_known =
            |at: &usize| self.tokens[*at] == token && self.rest[*at].table == table && self.rest[*at].key == key;
        if let Some(at) = (0..self.tokens.len()).find(is_known) {
            self.amounts[at] = self.amounts[at].saturating_add(amount);
            return;
        }
        if self.tokens.len() < COUNTERS {
            self.tokens.push(token);
            self.amounts.push(amount);
            let key = key.to_vec();
            self.rest.push(Rest { table, key, error: 0 });
            return;
        }
        let smallest = (0..COUNTERS).min_by_key(|at| self.amounts[*at]);
        let at = smallest.expect("a full list has counters");
        self.tokens[at] = token;
        let taken = &mut self.rest[at];
        taken.table = table;
        taken.key.clear();
        taken.key.extend_from_slice(key);
        taken.error = self.amounts[at];
        self.amounts[at] = self.amounts[at].saturating_add(amount);
    }

    fn halve(&mut self, times: u32) {
        for at in (0..self.tokens.len()).rev() {
            self.amounts[at] = self.amounts[at].checked_shr(times).unwrap_or(0);
            self.rest[at].error = self.rest[at].error.checked_shr(times).unwrap_or(0);
            if self.amounts[at] == 0 {
                self.tokens.swap_remove(at);
                self.amounts.swap_remove(at);
                self.rest.swap_remove(at);
            }
        }
    }

    fn told(&self, name_of: impl Fn(TableId) -> Option<String>) -> Vec<HotPartition> {
        let mut counters: Vec<_> = self.amounts.iter().zip(&self.rest).collect();
        counters.sort_by_key(|(amount, _)| std::cmp::Reverse(**amount));
        // Tables that are gone have no name.
        let told = counters.into_iter().filter_map(|(amount, rest)| {
            Some(HotPartition {
                table: name_of(rest.table)?,
                key: rest.key.clone(),
                amount: *amount,
                error: rest.error,
            })
        });
        told.take(TOLD).collect()
    }
}

/// The lists of a shard.
#[derive(Default)]
pub(crate) struct Hot {
    operations: Cell<u64>,
    halved: Cell<Option<runtime::time::Instant>>,
    reads: RefCell<Top>,
    writes: RefCell<Top>,
    bytes: RefCell<Top>,
}

impl Hot {
    /// A page was read.
    pub(crate) fn read(&self, table: TableId, token: Token, key: &[u8], bytes: usize) {
        if self.is_sampled() {
            self.reads.borrow_mut().add(table, token, key, SAMPLED);
            self.bytes.borrow_mut().add(table, token, key, bytes as u64 * SAMPLED);
        }
    }

    /// A mutation was logged.
    pub(crate) fn written(&self, table: TableId, token: Token, key: &[u8], bytes: usize) {
        if self.is_sampled() {
            self.writes.borrow_mut().add(table, token, key, SAMPLED);
            self.bytes.borrow_mut().add(table, token, key, bytes as u64 * SAMPLED);
        }
    }

    /// The hottest of late.
    pub(crate) fn hottest(&self, name_of: impl Fn(TableId) -> Option<String>) -> Hottest {
        self.age();
        Hottest {
            reads: self.reads.borrow().told(&name_of),
            writes: self.writes.borrow().told(&name_of),
            bytes: self.bytes.borrow().told(&name_of),
        }
    }

    fn is_sampled(&self) -> bool {
        let operations = self.operations.get().wrapping_add(1);
        self.operations.set(operations);
        let is_sampled = operations.wrapping_mul(SPREAD) < u64::MAX / SAMPLED;
        if is_sampled {
            self.age();
        }
        is_sampled
    }

    /// Halves the counts once for each minute that has passed.
    fn age(&self) {
        let now = runtime::time::Instant::now();
        let halved = self.halved.get().unwrap_or(now);
        let times = now.duration_since(halved).as_secs() / HALVED_EVERY.as_secs();
        let times = u32::try_from(times).unwrap_or(u32::MAX);
        for list in [&self.reads, &self.writes, &self.bytes]
            .into_iter()
            .filter(|_| times > 0)
        {
            list.borrow_mut().halve(times);
        }
        self.halved.set(Some(if times > 0 { now } else { halved }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(top: &mut Top, channel: u64, amount: u64) {
        let key = channel.to_be_bytes();
        top.add(TableId(1), model::token_of(&key), &key, amount);
    }

    #[test]
    fn the_hottest_of_very_many_are_found_and_never_counted_short() {
        const CHANNELS: u64 = 10_000;
        const ADDED: u64 = 200_000;
        // Channel n is asked for in proportion to 1/n.
        let weights: Vec<f64> = (1..=CHANNELS).map(|n| 1.0 / n as f64).collect();
        let total: f64 = weights.iter().sum();
        let mut top = Top::default();
        let mut counts = vec![0_u64; CHANNELS as usize];
        let mut random = 1_u64;
        for _ in 0..ADDED {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let mut at = (random >> 11) as f64 / (1_u64 << 53) as f64 * total;
            let channel = weights.iter().position(|weight| {
                at -= weight;
                at <= 0.0
            });
            let channel = channel.unwrap_or(0);
            counts[channel] += 1;
            add(&mut top, channel as u64, 1);
        }
        assert_eq!(top.rest.len(), COUNTERS);
        let told = top.told(|_| Some(String::new()));
        assert_eq!(told.len(), TOLD);
        let channel_of = |key: &[u8]| u64::from_be_bytes(key.try_into().expect("8 bytes"));
        assert!(told.iter().all(|hot| channel_of(&hot.key) < 12), "{told:?}");
        for (amount, rest) in top.amounts.iter().zip(&top.rest) {
            let counted = counts[channel_of(&rest.key) as usize];
            assert!(
                *amount >= counted && amount - rest.error <= counted,
                "{amount} less {}, {counted}",
                rest.error
            );
        }
        assert_eq!(told[0].key, 0_u64.to_be_bytes());
    }

    #[test]
    fn what_is_no_longer_asked_for_is_forgotten() {
        let mut top = Top::default();
        add(&mut top, 1, 1000);
        top.halve(3);
        add(&mut top, 2, 126);
        let amounts: Vec<u64> = top.told(|_| Some(String::new())).iter().map(|hot| hot.amount).collect();
        assert_eq!(amounts, [126, 125]);
        top.halve(64);
        assert!(top.tokens.is_empty() && top.amounts.is_empty() && top.rest.is_empty());
    }

    #[test]
    fn a_long_key_takes_little() {
        let mut top = Top::default();
        top.add(TableId(1), Token(1), &[7; 65_535], 1);
        assert_eq!(top.rest[0].key.len(), KEY_BYTES_MAX);
    }
}
