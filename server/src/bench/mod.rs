//! `scrollback bench`: one workload, measured in this process, on a new store.
//!
//! - Writers and readers are tasks on the shards, spread evenly; each has one operation under way.
//! - CPU is the process's own, user and system together, over the measured part. The kernel's workers for it are in it.
//! - `odsync_mean_us` is the mean of the log's own synchronous writes in the same run, all shards writing;
//!   `odsync_raw_us` that of bare 4 KiB writes, one thread for each shard, right after it.
//! - Allocations are counted in a further, shorter part, because counting costs.

mod buckets;
mod compaction;
mod cql;
mod crowd;
mod deleted;
mod figures;
mod flush;
mod get;
mod ingest;
mod page;
mod probe;
mod recovery;
mod reshard;
mod workload;

use crate::{cli, failure::Done, output::Format};

/// Runs a workload.
pub fn run(bench: cli::Bench, format: Format) -> Done {
    match bench {
        cli::Bench::Ingest(args) => ingest::run(args, format),
        cli::Bench::Page(args) => page::run(args, format),
        cli::Bench::Get(args) => get::run(args, format),
        cli::Bench::Crowd(args) => crowd::run(args, format),
        cli::Bench::Deleted(args) => deleted::run(args, format),
        cli::Bench::Flush(args) => flush::run(args, format),
        cli::Bench::Recovery(args) => recovery::run(args, format),
        cli::Bench::Reshard(args) => reshard::run(args, format),
        cli::Bench::Buckets(args) => buckets::run(args, format),
        cli::Bench::Compaction(args) => compaction::run(args, format),
        cli::Bench::Cql(args) => cql::run(&args, format),
    }
}
