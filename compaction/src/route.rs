//! Deals the fragments of a sorted stream out to several files, by where in its partition each lies.
//!
//! A partition is divided by *borders*, positions that are the same in all partitions: between two of them everything goes to one
//! target. A range deletion that crosses a border is cut there, so that each file closes the ranges that it opens. What has no
//! position, a partition's deletion and its static row, goes to the [rest](Routes::rest).

use std::future::Future;

use model::{Deletion, Fragment, RowRef, Token};

use crate::{Epoch, Epochs};

/// Takes what is dealt out.
pub trait Sink {
    /// Why it cannot.
    type Error;

    /// Takes the next fragment of a target: each target's are a sorted stream of whole partitions.
    fn append(&mut self, target: usize, fragment: Fragment<'_>) -> impl Future<Output = Result<(), Self::Error>>;
}

/// Which part of a partition goes where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Routes {
    /// Where each part begins, ascending, and its target; the first begins at the start of the partition.
    parts: Vec<(Vec<u8>, usize)>,
    rest: usize,
    targets: usize,
}

impl Routes {
    /// Everything goes to target 0.
    pub fn one() -> Routes {
        Routes {
            parts: vec![(Vec::new(), 0)],
            rest: 0,
            targets: 1,
        }
    }

    /// Each of `own`, ascending, goes to the target of its place there, everything else to the one after them.
    ///
    /// # Panics
    /// If `own` is not ascending.
    pub fn by_epoch(epochs: &Epochs, own: &[Epoch]) -> Routes {
        assert!(own.is_sorted_by(|a, b| a < b), "epochs ascend, each once");
        let rest = own.len();
        let mut parts = vec![(Vec::new(), rest)];
        let mut begin = |position: Option<Vec<u8>>, target| match position {
            Some(position) => match parts.last_mut() {
                Some(last) if last.0 == position => last.1 = target,
                _ => parts.push((position, target)),
            },
            // Nothing lies before it.
            None if parts.len() == 1 => parts[0].1 = target,
            // No key can lie in it, nor in those after it.
            None => {}
        };
        let mut of = |at: usize| {
            let epoch = own[at];
            let next = if epochs.is_descending() { -1 } else { 1 };
            let end = epoch.0.checked_add(next).and_then(|next| epochs.start(Epoch(next)));
            begin(epochs.start(epoch), at);
            if let Some(end) = end {
                begin(Some(end), rest);
            }
        };
        match epochs.is_descending() {
            true => (0..own.len()).rev().for_each(&mut of),
            false => (0..own.len()).for_each(&mut of),
        }
        Routes {
            parts,
            rest,
            targets: rest + 1,
        }
    }

    /// Where deletions of partitions and static rows go.
    pub fn rest(&self) -> usize {
        self.rest
    }

    /// How many targets there are.
    pub fn targets(&self) -> usize {
        self.targets
    }
}

/// Deals out one partition after the other.
#[derive(Debug)]
pub struct Router {
    routes: Routes,
    token: Token,
    key: Vec<u8>,
    /// By target: whether it has something of the partition.
    started: Vec<bool>,
    /// The part that is being dealt out.
    part: usize,
    /// The range deletion in force.
    open: Deletion,
}

impl Router {
    /// Deals out by `routes`.
    pub fn new(routes: Routes) -> Router {
        Router {
            started: vec![false; routes.targets],
            routes,
            token: Token(0),
            key: Vec::new(),
            part: 0,
            open: Deletion::LIVE,
        }
    }

    /// Begins a partition. Its deletion, if it has one, goes to the rest and to the targets of `also`. A target gets the partition with
    /// the first that it has of it; one without anything is not told.
    ///
    /// # Errors
    /// What the sink says.
    pub async fn partition<S: Sink>(
        &mut self,
        token: Token,
        key: &[u8],
        deletion: Deletion,
        also: &[usize],
        sink: &mut S,
    ) -> Result<(), S::Error> {
        self.token = token;
        self.key.clear();
        self.key.extend_from_slice(key);
        self.started.fill(false);
        self.part = 0;
        self.open = Deletion::LIVE;
        if !deletion.is_live() {
            for &target in also.iter().chain(&[self.routes.rest]) {
                self.start(target, deletion, sink).await?;
            }
        }
        Ok(())
    }

    /// The partition's static row, before its rows.
    ///
    /// # Errors
    /// What the sink says.
    pub async fn static_row<S: Sink>(&mut self, row: RowRef<'_>, sink: &mut S) -> Result<(), S::Error> {
        let target = self.routes.rest;
        self.start(target, Deletion::LIVE, sink).await?;
        sink.append(target, Fragment::StaticRow(row)).await
    }

    /// The next row.
    ///
    /// # Errors
    /// What the sink says.
    #[inline]
    pub async fn row<S: Sink>(&mut self, clustering: &[u8], row: RowRef<'_>, sink: &mut S) -> Result<(), S::Error> {
        let (target, _) = self.go_to(clustering, false, sink).await?;
        self.start(target, Deletion::LIVE, sink).await?;
        sink.append(target, Fragment::Row { clustering, row }).await
    }

    /// The next range change.
    ///
    /// # Errors
    /// What the sink says.
    pub async fn range_change<S: Sink>(
        &mut self,
        position: &[u8],
        deletion: Deletion,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        let (target, is_cut) = self.go_to(position, true, sink).await?;
        self.open = deletion;
        if deletion.is_live() && is_cut {
            return Ok(());
        }
        self.start(target, Deletion::LIVE, sink).await?;
        sink.append(target, Fragment::RangeChange { position, deletion }).await
    }

    /// Ends the partition.
    ///
    /// # Errors
    /// What the sink says.
    pub async fn end<S: Sink>(&mut self, sink: &mut S) -> Result<(), S::Error> {
        assert!(self.open.is_live(), "a partition closes the ranges that it opens");
        for target in 0..self.started.len() {
            if std::mem::take(&mut self.started[target]) {
                sink.append(target, Fragment::PartitionEnd).await?;
            }
        }
        Ok(())
    }

    async fn start<S: Sink>(&mut self, target: usize, deletion: Deletion, sink: &mut S) -> Result<(), S::Error> {
        if self.started[target] {
            return Ok(());
        }
        self.started[target] = true;
        let (token, key) = (self.token, &self.key);
        sink.append(target, Fragment::PartitionStart { token, key, deletion })
            .await
    }

    /// Crosses the borders up to `position`, cutting what is open; `changes`: what is open changes there itself. Gives the target, and
    /// whether what is open was closed at `position` for another target, and not opened in this one.
    #[inline]
    async fn go_to<S: Sink>(
        &mut self,
        position: &[u8],
        changes: bool,
        sink: &mut S,
    ) -> Result<(usize, bool), S::Error> {
        let mut is_cut = false;
        while let Some((border, to)) = self.routes.parts.get(self.part + 1)
            && border.as_slice() <= position
        {
            let (from, to, deletion) = (self.routes.parts[self.part].1, *to, self.open);
            self.part += 1;
            if deletion.is_live() || from == to {
                continue;
            }
            let border = border.clone();
            let change = |deletion| Fragment::RangeChange {
                position: &border,
                deletion,
            };
            sink.append(from, change(Deletion::LIVE)).await?;
            is_cut = changes && border == position;
            if !is_cut {
                self.start(to, Deletion::LIVE, sink).await?;
                sink.append(to, change(deletion)).await?;
            }
        }
        Ok((self.routes.parts[self.part].1, is_cut))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TimeTiered;
    use futures_lite::future::block_on;
    use model::{CqlType, RowBuilder, Schema};
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// What each target got of one partition, in short: `+` starts (with its deletion), `r3` a row, `c4:7` a change.
    #[derive(Default)]
    struct Log(Vec<Vec<String>>);

    impl Sink for Log {
        type Error = Infallible;

        async fn append(&mut self, target: usize, fragment: Fragment<'_>) -> Result<(), Infallible> {
            if self.0.len() <= target {
                self.0.resize(target + 1, Vec::new());
            }
            let told = match fragment {
                Fragment::PartitionStart { deletion, .. } if deletion.is_live() => "+".to_owned(),
                Fragment::PartitionStart { deletion, .. } => format!("+{}", deletion.timestamp),
                Fragment::StaticRow(_) => "s".to_owned(),
                Fragment::Row { clustering, .. } => format!("r{}", clustering[0]),
                Fragment::RangeChange { position, deletion } if deletion.is_live() => format!("c{}:-", position[0]),
                Fragment::RangeChange { position, deletion } => format!("c{}:{}", position[0], deletion.timestamp),
                Fragment::PartitionEnd => ".".to_owned(),
            };
            self.0[target].push(told);
            Ok(())
        }
    }

    /// Parts that begin at these bytes, with their targets; what comes before the first goes to `rest`.
    fn routes(borders: &[(u8, usize)], rest: usize) -> Routes {
        let parts = borders.iter().map(|&(border, target)| (vec![border], target));
        Routes {
            parts: std::iter::once((Vec::new(), rest)).chain(parts).collect(),
            rest,
            targets: rest + 1,
        }
    }

    /// Rows at positive bytes, changes where a deletion is given (0: live).
    fn deal(routes: Routes, items: &[(u8, Option<i64>)]) -> Vec<String> {
        let mut log = Log::default();
        let mut router = Router::new(routes);
        let row = RowBuilder::new().liveness(1).finish().to_vec();
        block_on(async {
            router.partition(Token(1), b"k", Deletion::LIVE, &[], &mut log).await?;
            for &(at, change) in items {
                match change {
                    None => router.row(&[at], RowRef::trusted(&row), &mut log).await?,
                    Some(0) => router.range_change(&[at], Deletion::LIVE, &mut log).await?,
                    Some(by) => router.range_change(&[at], Deletion::new(by, 1), &mut log).await?,
                }
            }
            router.end(&mut log).await
        })
        .expect("infallible");
        log.0.iter().map(|of| of.join(" ")).collect()
    }

    #[test]
    fn rows_go_where_they_lie() {
        let items = [(1, None), (5, None), (6, None), (9, None)];
        assert_eq!(deal(Routes::one(), &items), ["+ r1 r5 r6 r9 ."]);
        assert_eq!(deal(routes(&[(5, 0), (9, 1)], 1), &items), ["+ r5 r6 .", "+ r1 r9 ."]);
        assert_eq!(deal(routes(&[(5, 0), (9, 1)], 1), &[(1, None)]), ["", "+ r1 ."]);
    }

    #[test]
    fn ranges_are_cut_at_borders() {
        let routes = || routes(&[(5, 0), (9, 1)], 1);
        for (items, expected) in [
            (vec![(1, Some(7)), (3, Some(0))], ["", "+ c1:7 c3:- ."]),
            (vec![(1, Some(7)), (7, Some(0))], ["+ c5:7 c7:- .", "+ c1:7 c5:- ."]),
            (
                vec![(1, Some(7)), (12, Some(0))],
                ["+ c5:7 c9:- .", "+ c1:7 c5:- c9:7 c12:- ."],
            ),
            (vec![(5, Some(7)), (9, Some(0))], ["+ c5:7 c9:- .", ""]),
            (vec![(1, Some(7)), (5, Some(0))], ["", "+ c1:7 c5:- ."]),
            (
                vec![(1, Some(7)), (5, Some(8)), (6, Some(0))],
                ["+ c5:8 c6:- .", "+ c1:7 c5:- ."],
            ),
            (
                vec![(1, Some(7)), (5, None), (9, None), (9, Some(0))],
                ["+ c5:7 r5 c9:- .", "+ c1:7 c5:- c9:7 r9 c9:- ."],
            ),
        ] {
            let dealt = deal(routes(), &items);
            let dealt: Vec<_> = dealt.iter().map(String::as_str).chain([""]).take(2).collect();
            assert_eq!(dealt, expected, "{items:?}");
        }
    }

    #[test]
    fn heads_go_to_the_rest_and_deletions_where_they_are_wanted_too() {
        let mut log = Log::default();
        let mut router = Router::new(routes(&[(5, 0), (7, 1)], 2));
        let row = RowBuilder::new().liveness(1).finish().to_vec();
        let row = RowRef::trusted(&row);
        block_on(async {
            router
                .partition(Token(1), b"k", Deletion::new(9, 9), &[1], &mut log)
                .await?;
            router.static_row(row, &mut log).await?;
            router.row(&[6], row, &mut log).await?;
            router.row(&[8], row, &mut log).await?;
            router.end(&mut log).await
        })
        .expect("infallible");
        let dealt: Vec<_> = log.0.iter().map(|of| of.join(" ")).collect();
        assert_eq!(dealt, ["+ r6 .", "+9 r8 .", "+9 s ."]);
    }

    #[test]
    fn epochs_have_their_targets() {
        for descending in [false, true] {
            let builder = Schema::builder("k", "t").partition_key("p", CqlType::Int);
            let builder = match descending {
                true => builder.clustering_desc("c", CqlType::Timestamp),
                false => builder.clustering("c", CqlType::Timestamp),
            };
            let schema = builder.build().expect("legal");
            let tiered = TimeTiered {
                epoch_hours: 1,
                ..TimeTiered::default()
            };
            let epochs = Epochs::new(&schema, &tiered).expect("has a time");
            let routes = Routes::by_epoch(&epochs, &[Epoch(3), Epoch(4), Epoch(7)]);
            assert_eq!((routes.targets(), routes.rest()), (4, 3));
            let target_of = |hour: i64| {
                let value = (hour * 3_600_000 + 5).to_be_bytes();
                let key = schema.encode_clustering(&[&value]).expect("legal");
                routes.parts[routes.parts.partition_point(|(start, _)| *start <= key) - 1].1
            };
            let targets: Vec<_> = (1..10).map(target_of).collect();
            assert_eq!(targets, [3, 3, 0, 1, 3, 3, 2, 3, 3], "descending: {descending}");
        }
    }

    proptest! {
        /// What is in force at each place, and each row, is what went in.
        #[test]
        fn prop_nothing_is_lost_at_borders(
            borders in proptest::collection::btree_map(1..40_u8, 0..3_usize, 0..6),
            changes in proptest::collection::btree_map(1..40_u8, 0..4_i64, 0..8),
        ) {
            let borders: Vec<_> = borders.into_iter().collect();
            let mut items = Vec::new();
            let mut force = 0;
            let mut forces = vec![0; 41];
            for at in 1..=40_u8 {
                let to = if at == 40 { Some(0) } else { changes.get(&at).copied() };
                if let Some(to) = to.filter(|to| *to != force) {
                    items.push((at, Some(to)));
                    force = to;
                }
                forces[at as usize] = force;
            }
            let mut log = Log::default();
            let mut router = Router::new(routes(&borders, 2));
            block_on(async {
                router.partition(Token(1), b"k", Deletion::LIVE, &[], &mut log).await?;
                for &(at, to) in &items {
                    let deletion = match to {
                        Some(0) | None => Deletion::LIVE,
                        Some(by) => Deletion::new(by, 1),
                    };
                    router.range_change(&[at], deletion, &mut log).await?;
                }
                router.end(&mut log).await
            }).expect("infallible");
            let mut got = vec![0; 41];
            for of in &log.0 {
                let (mut force, mut last) = (0, 0);
                for told in of.iter().filter(|told| told.starts_with('c')) {
                    let (at, to) = told[1..].split_once(':').expect("a change");
                    let (at, to): (usize, i64) = (at.parse().expect("a byte"), to.parse().unwrap_or(0));
                    prop_assert!(at > last, "positions ascend: {of:?}");
                    prop_assert!(to != force, "a change changes: {of:?}");
                    for got in got.iter_mut().take(at).skip(last).filter(|_| force != 0) {
                        prop_assert!(*got == 0, "two targets have one place");
                        *got = force;
                    }
                    (force, last) = (to, at);
                }
                prop_assert_eq!(force, 0, "closed: {:?}", of);
            }
            prop_assert_eq!(got, forces);
        }
    }
}
