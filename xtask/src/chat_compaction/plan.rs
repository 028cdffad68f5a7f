//! What is imported: the chat's lines in turn, each to a channel that Zipf's law draws, in batches for the clients.

use std::collections::{BTreeMap, VecDeque};

use messages::{Epoch, import_id};

use super::truth::Channel;
use crate::kill9::chat::{Chat, Line};
use crate::rng::Rng;

/// Lines of a batch, at most.
const BATCH_MAX: usize = 100;
/// The chat is imported in so many parts; in every other one nothing is changed meanwhile, so that some table files hold
/// nothing that is younger than the messages.
const PARTS: usize = 6;

/// Lines of one channel, with their ids.
#[derive(Clone)]
pub(super) struct Batch {
    pub channel: usize,
    pub lines: Vec<(i64, Line)>,
    /// Whether messages are changed after it.
    pub changes: bool,
}

/// How long things last, by how long the chat lasts, and when ids begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub epoch_ms: i64,
    /// A bucket of a channel.
    pub bucket_hours: u32,
    /// An epoch, or a window, of the table files.
    pub files_hours: u32,
}

impl Span {
    pub(super) fn of(chat: &Chat) -> Self {
        let times = || chat.lines.iter().map(|line| line.ts_ms);
        let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
        let hours = ((last - first) / 3_600_000) as u32;
        Self {
            epoch_ms: first - first.rem_euclid(86_400_000),
            bucket_hours: (hours / 150).clamp(1, 8760),
            files_hours: (hours / 12).clamp(1, 8760),
        }
    }
}

/// Draws numbers below `count`, the first most often: that of place n one n-th as often.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: usize) -> Self {
        let sums = (1..=count).scan(0.0, |sum, place| {
            *sum += 1.0 / place as f64;
            Some(*sum)
        });
        Self(sums.collect())
    }

    fn draw(&self, rng: &mut Rng) -> usize {
        const PARTS: usize = 1 << 53;
        let all = self.0.last().expect("there is a channel");
        let at = rng.below(PARTS) as f64 / PARTS as f64 * all;
        self.0.partition_point(|sum| *sum <= at).min(self.0.len() - 1)
    }
}

/// The batch of a channel that is being filled.
#[derive(Default)]
struct Filling {
    lines: Vec<(i64, Line)>,
    /// It is full with so many.
    most: usize,
    /// How many messages of the channel each millisecond has.
    places: BTreeMap<i64, u32>,
}

/// Batches for each client, in the order of the chat, and the channels that will have them.
pub(super) fn make(
    chat: &Chat,
    messages: usize,
    channels: usize,
    clients: usize,
    span: Span,
    rng: &mut Rng,
) -> Result<(Vec<VecDeque<Batch>>, Vec<Channel>), String> {
    let now_ms = runtime::time::unix_micros() / 1000;
    let epoch = Epoch::new(span.epoch_ms, now_ms).map_err(|e| e.to_string())?;
    let zipf = Zipf::new(channels);
    let mut truths: Vec<Channel> = (0..channels)
        .map(|nth| Channel::new(format!("#ubuntu-{nth:03}"), span.bucket_hours))
        .collect();
    let mut plan: Vec<VecDeque<Batch>> = vec![VecDeque::new(); clients];
    let mut filling: Vec<Filling> = (0..channels).map(|_| Filling::default()).collect();
    let mut give = |channel: usize, lines: &mut Vec<_>, nth: usize| {
        plan[channel % clients].push_back(Batch {
            channel,
            lines: std::mem::take(lines),
            changes: nth * PARTS / messages % 2 == 1,
        });
    };
    for nth in 0..messages {
        let line = &chat.lines[nth % chat.lines.len()];
        let channel = zipf.draw(rng);
        let Filling { lines, most, places } = &mut filling[channel];
        let place = places.entry(line.ts_ms).or_default();
        let id = import_id(epoch, line.ts_ms, *place).map_err(|e| e.to_string())?.get();
        *place += 1;
        truths[channel].will_have(id);
        let line = Line {
            channel: truths[channel].name.clone(),
            ..line.clone()
        };
        lines.push((id, line));
        if lines.len() >= *most {
            give(channel, lines, nth);
            *most = rng.within(1..BATCH_MAX + 1);
        }
    }
    for (channel, filling) in filling.iter_mut().enumerate() {
        if !filling.lines.is_empty() {
            give(channel, &mut filling.lines, messages - 1);
        }
    }
    Ok((plan, truths))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_zipfs_law_and_no_id_is_there_twice() {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = Rng::new(1);
        let chat = Chat::make_up(&dir.path().join("chat.jsonl"), 1_000, &mut rng).unwrap();
        let (plan, truths) = make(&chat, 50_000, 200, 16, Span::of(&chat), &mut rng).unwrap();
        assert_eq!(truths.len(), 200);
        let mut ids: Vec<Vec<i64>> = vec![Vec::new(); 200];
        for (client, batches) in plan.iter().enumerate() {
            for batch in batches {
                assert_eq!(batch.channel % 16, client);
                assert!((1..=BATCH_MAX).contains(&batch.lines.len()));
                ids[batch.channel].extend(batch.lines.iter().map(|(id, _)| *id));
            }
        }
        let sizes: Vec<usize> = ids.iter().map(Vec::len).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 50_000);
        // 50,000 / (1 + 1/2 + … + 1/200) = 8506.
        assert!(
            sizes[0].abs_diff(8_506) < 500 && sizes[9].abs_diff(850) < 150,
            "{sizes:?}"
        );
        for ids in &mut ids {
            let all = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), all);
        }
    }
}
