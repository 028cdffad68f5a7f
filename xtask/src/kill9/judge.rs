//! What must be in a store into which a file of chat was imported, perhaps not to its end.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::chat::{Chat, Line};

/// A message as `scrollback history` shows it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub(crate) struct Shown {
    pub id: String,
    #[serde(flatten)]
    pub line: Line,
}

/// A file's lines with the ids that they get.
pub(crate) struct Original<'a> {
    chat: &'a Chat,
    /// Of each channel, in the order of its history, oldest first: id and number of the line, from 0.
    channels: BTreeMap<&'a str, Vec<(String, usize)>>,
}

/// What a comparison has found.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Verdict {
    /// Messages that are there as they must be.
    pub present: u64,
    /// Acknowledged lines that are not there, or not with their four fields.
    pub lost: u64,
    /// Messages that are there twice.
    pub duplicated: u64,
    /// Messages that were deleted and are there.
    pub revived: u64,
    /// Messages that the file does not have, or in the wrong order.
    pub unexpected: u64,
}

impl std::ops::AddAssign for Verdict {
    fn add_assign(&mut self, other: Self) {
        self.present += other.present;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.revived += other.revived;
        self.unexpected += other.unexpected;
    }
}

impl<'a> Original<'a> {
    /// Learns the ids from the histories, oldest first, of a store into which the file was imported undisturbed.
    ///
    /// # Errors
    /// The first line that is not shown as it stands in the file.
    pub(crate) fn learn(
        chat: &'a Chat,
        mut history: impl FnMut(&str) -> Result<Vec<Shown>, String>,
    ) -> Result<Self, String> {
        let mut channels = BTreeMap::new();
        for (channel, lines) in chat.channels() {
            let shown = history(channel)?;
            if shown.len() != lines.len() {
                let (has, shows) = (lines.len(), shown.len());
                return Err(format!(
                    "channel {channel:?} has {has} lines, its history shows {shows}"
                ));
            }
            let mut ids = Vec::with_capacity(lines.len());
            for (nth, shown) in lines.into_iter().zip(shown) {
                if shown.line != chat.lines[nth] {
                    return Err(format!(
                        "line {}: the file has {:?}, the history shows {:?}",
                        nth + 1,
                        chat.lines[nth],
                        shown.line
                    ));
                }
                ids.push((shown.id, nth));
            }
            channels.insert(channel, ids);
        }
        Ok(Self { chat, channels })
    }

    /// The channels of the file.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &'a str> {
        self.channels.keys().copied()
    }

    /// Compares the history of a channel, oldest first, with the file, of which the first `acknowledged` lines must be
    /// there; messages whose ids are `deleted` must not.
    pub(crate) fn judge(
        &self,
        channel: &str,
        found: &[Shown],
        acknowledged: usize,
        deleted: &BTreeSet<String>,
    ) -> Verdict {
        let ids = self.channels.get(channel).map(Vec::as_slice).unwrap_or_default();
        // Where in the order of the history an id stands, and what it must show.
        let places: BTreeMap<&str, (usize, &Line)> = (ids.iter().enumerate())
            .map(|(place, (id, nth))| (id.as_str(), (place, &self.chat.lines[*nth])))
            .collect();
        let mut verdict = Verdict::default();
        let mut whole = vec![false; ids.len()];
        let mut seen = BTreeSet::new();
        let mut last = None;
        for shown in found {
            if !seen.insert(shown.id.as_str()) {
                verdict.duplicated += 1;
                continue;
            }
            match places.get(shown.id.as_str()) {
                _ if deleted.contains(&shown.id) => verdict.revived += 1,
                Some((place, line)) => {
                    whole[*place] = **line == shown.line;
                    let in_order = last.is_none_or(|last| last < *place);
                    verdict.unexpected += u64::from(!in_order) + u64::from(!whole[*place]);
                    last = Some(*place);
                }
                None if places.values().any(|(_, line)| **line == shown.line) => verdict.duplicated += 1,
                None => verdict.unexpected += 1,
            }
        }
        for ((id, nth), whole) in ids.iter().zip(whole) {
            verdict.present += u64::from(whole);
            verdict.lost += u64::from(!whole && *nth < acknowledged && !deleted.contains(id));
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn line(ts_ms: i64, content: &str) -> Line {
        Line {
            ts_ms,
            channel: "c".to_owned(),
            author: "a".to_owned(),
            content: content.to_owned(),
        }
    }

    /// Two lines of one millisecond that say the same, and one that comes late.
    fn chat() -> Chat {
        let lines = vec![line(5, "x"), line(5, "x"), line(9, "y"), line(3, "late"), line(9, "z")];
        let path = PathBuf::new();
        Chat { path, lines }
    }

    fn whole() -> Vec<Shown> {
        let order = [3, 0, 1, 2, 4];
        let shown = |(place, nth): (usize, usize)| Shown {
            id: format!("{}", 10 + place),
            line: chat().lines[nth].clone(),
        };
        order.into_iter().enumerate().map(shown).collect()
    }

    fn judge(found: &[Shown], acknowledged: usize, deleted: &[&str]) -> Verdict {
        let chat = chat();
        let original = Original::learn(&chat, |_| Ok(whole())).unwrap();
        let deleted = deleted.iter().map(|id| (*id).to_owned()).collect();
        original.judge("c", found, acknowledged, &deleted)
    }

    const CLEAN: Verdict = Verdict {
        present: 5,
        lost: 0,
        duplicated: 0,
        revived: 0,
        unexpected: 0,
    };

    #[test]
    fn a_history_that_is_not_the_file_teaches_no_ids() {
        let chat = chat();
        assert!(Original::learn(&chat, |_| Ok(whole()[1..].to_vec())).is_err());
        let mut other = whole();
        other.swap(3, 4);
        assert!(Original::learn(&chat, |_| Ok(other.clone())).is_err());
        let mut other = whole();
        other[2].line.author = "b".to_owned();
        assert!(Original::learn(&chat, |_| Ok(other.clone())).is_err());
    }

    #[test]
    fn what_is_whole_is_clean() {
        assert_eq!(judge(&whole(), 5, &[]), CLEAN);
        // Not acknowledged, and not there.
        assert_eq!(judge(&whole()[..4], 4, &[]), Verdict { present: 4, ..CLEAN });
        // Deleted, and not there.
        let mut less = whole();
        less.remove(1);
        assert_eq!(judge(&less, 5, &["11"]), Verdict { present: 4, ..CLEAN });
    }

    #[test]
    fn finds_what_is_lost() {
        for gone in 0..5 {
            let mut less = whole();
            less.remove(gone);
            let lost = Verdict {
                present: 4,
                lost: 1,
                ..CLEAN
            };
            assert_eq!(judge(&less, 5, &[]), lost);
        }
        // Of two lines that say the same the first was acknowledged, and only the second is there.
        let mut less = whole();
        less.remove(1);
        assert_eq!(judge(&less, 1, &[]).lost, 1);
        let mut less = whole();
        less.remove(2);
        assert_eq!(judge(&less, 1, &[]).lost, 0);
        // There, but not as it was sent.
        let mut other = whole();
        other[3].line.author = "b".to_owned();
        let verdict = judge(&other, 5, &[]);
        assert_eq!((verdict.lost, verdict.unexpected), (1, 1));
    }

    #[test]
    fn finds_what_is_duplicated_revived_made_up_and_out_of_order() {
        let mut more = whole();
        more.insert(2, more[2].clone());
        assert_eq!(judge(&more, 5, &[]), Verdict { duplicated: 1, ..CLEAN });
        let mut more = whole();
        more.push(Shown {
            id: "77".to_owned(),
            ..more[4].clone()
        });
        assert_eq!(judge(&more, 5, &[]), Verdict { duplicated: 1, ..CLEAN });
        let revived = Verdict {
            present: 4,
            revived: 1,
            ..CLEAN
        };
        assert_eq!(judge(&whole(), 5, &["11"]), revived);
        let mut more = whole();
        more.push(Shown {
            id: "77".to_owned(),
            line: line(99, "never sent"),
        });
        assert_eq!(judge(&more, 5, &[]), Verdict { unexpected: 1, ..CLEAN });
        let mut other = whole();
        other.swap(1, 2);
        assert_eq!(judge(&other, 5, &[]), Verdict { unexpected: 1, ..CLEAN });
    }
}
