//! Ids for names: a channel or an author that comes with a name gets a number that never changes.
//!
//! The id is a hash of (kind, name); if another name has taken it, the next free number. The table `names` has one
//! partition per (kind, id) with the name, written before anything that uses the id: a name looked up again, after a
//! crash as well, gets the same id.

use xxhash_rust::xxh3::Xxh3;

/// What a name names. The numbers are stored.
///
/// ```no_run
/// # async fn example(messages: scrollback_messages::Messages) -> scrollback_messages::Result<()> {
/// use scrollback_messages::NameKind;
///
/// let id = messages.channel("general").await?; // the same id each time
/// assert_eq!(messages.name(NameKind::Channel, id).await?.as_deref(), Some("general"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum NameKind {
    /// A channel.
    Channel = 1,
    /// An author.
    Author = 2,
}

/// Where the search for the id of `name` begins. Positive.
pub(crate) fn first_candidate(kind: NameKind, name: &str) -> i64 {
    let mut hash = Xxh3::new();
    hash.update(&[kind as u8]);
    hash.update(name.as_bytes());
    positive(hash.digest())
}

/// The candidate after `id`, if another name has that.
pub(crate) fn next_candidate(id: i64) -> i64 {
    positive(id as u64 + 1)
}

fn positive(hash: u64) -> i64 {
    ((hash & i64::MAX as u64) as i64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These numbers are in stores: they must never change.
    #[test]
    fn the_hash_is_fixed() {
        let ids = [
            first_candidate(NameKind::Channel, "#ubuntu"),
            first_candidate(NameKind::Author, "#ubuntu"),
            first_candidate(NameKind::Author, ""),
        ];
        assert_eq!(
            ids,
            [
                7_436_350_586_101_186_525,
                6_288_028_689_711_223_619,
                5_328_935_303_137_976_319
            ]
        );
    }

    #[test]
    fn candidates_are_positive_and_go_round() {
        assert_eq!(positive(0), 1);
        assert_eq!(positive(1 << 63), 1);
        assert_eq!(positive(u64::MAX), i64::MAX);
        assert_eq!(next_candidate(i64::MAX), 1);
        assert_eq!(next_candidate(1), 2);
    }
}
