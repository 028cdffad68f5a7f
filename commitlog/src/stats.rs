//! Figures of a log since it was opened.

/// What a log has done since it was opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogStats {
    /// Groups written that hold records.
    pub groups: u64,
    /// Groups written that only vouch, or fill the end of a segment.
    pub fill_groups: u64,
    /// Records appended.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Bytes of record headers and fills.
    pub padding_bytes: u64,
    /// Bytes given to the device, segment preparation not counted.
    pub written_bytes: u64,
    /// Segments made anew: allocated and written with zeros.
    pub segments_created: u64,
    /// Segments made of released ones.
    pub segments_recycled: u64,
    /// Times that someone had to wait for room.
    pub room_waits: u64,
    /// Writes of groups, from handing them to the device to their completion (synced, in group mode).
    pub odsync_us: Latency,
}

/// Durations: count, sum, maximum, and how many fell into each power of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Their sum in microseconds.
    pub total_us: u64,
    /// The longest in microseconds.
    pub max_us: u64,
    /// `buckets[i]`: those of at least 2^(i-1) and less than 2^i microseconds; the last one takes all that are longer.
    pub buckets: [u64; 24],
}

impl Latency {
    /// Counts one.
    pub fn add(&mut self, us: u64) {
        self.count += 1;
        self.total_us += us;
        self.max_us = self.max_us.max(us);
        let bucket = (u64::BITS - us.leading_zeros()) as usize;
        self.buckets[bucket.min(self.buckets.len() - 1)] += 1;
    }

    /// A bound in microseconds below which `part` of them, from 0 to 1, lie; it is twice as large as need be at most. 0 if there
    /// were none.
    pub fn below_us(&self, part: f64) -> u64 {
        let wanted = (self.count as f64 * part).ceil() as u64;
        let mut counted = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            counted += count;
            if counted >= wanted && counted > 0 {
                return self.max_us.min(1 << bucket);
            }
        }
        self.max_us
    }

    /// The mean in microseconds; 0 if there were none.
    pub fn mean_us(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.total_us as f64 / self.count as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two() {
        let mut latency = Latency::default();
        for us in [0, 1, 2, 3, 4, u64::MAX] {
            latency.add(if us == u64::MAX { 1 << 40 } else { us });
        }
        assert_eq!(
            (
                latency.buckets[0],
                latency.buckets[1],
                latency.buckets[2],
                latency.buckets[3]
            ),
            (1, 1, 2, 1)
        );
        assert_eq!((latency.buckets[23], latency.count, latency.max_us), (1, 6, 1 << 40));
        let below = [0.0, 0.5, 0.83, 1.0].map(|part| latency.below_us(part));
        assert_eq!(below, [1, 4, 8, 1 << 23]);
        assert_eq!(Latency::default().below_us(0.99), 0);
    }
}
