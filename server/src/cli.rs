//! The command line: names, options and the help that teaches them.

use crate::{output::Format, time_text::Timestamp};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use engine::Size;
use messages::MessageId;
use scrollback_server::load::CHANNELS;
use std::path::{Path, PathBuf};

/// A wide-column store made for message history.
///
/// Everything is kept in one directory, named with --data. A first tour:
///
///   scrollback demo
///   scrollback import  --data ./chat irc.jsonl.gz
///   scrollback channels --data ./chat
///   scrollback history --data ./chat --channel '#ubuntu' --limit 50
///   scrollback send    --data ./chat --channel '#ubuntu' --author me --content 'hello'
///
/// Results go to standard output, progress and logs to standard error (SCROLLBACK_LOG=info shows more of them).
/// The exit status is 0 when done, 1 when refused or failed, 2 when the command line is wrong.
#[derive(Parser, Debug)]
#[command(
    name = "scrollback",
    version,
    verbatim_doc_comment,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// How results are written: `table` for people, `jsonl` for programs (one object a line, the summary last).
    /// Without it: a table on a terminal, jsonl into a pipe or file; `send` alone always prints the bare id.
    #[arg(long, global = true, value_enum)]
    pub format: Option<Format>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    Serve(Serve),
    Import(Import),
    Channels(Channels),
    History(History),
    Send(Send),
    Edit(Edit),
    Delete(Delete),
    Window(Window),
    Status(Status),
    Stats(Stats),
    Top(Top),
    Compact(Compact),
    Flush(Flush),
    CompactionStats(CompactionStats),
    DiskUsage(DiskUsage),
    Check(Check),
    Snapshot(Snapshot),
    Backup(Backup),
    Restore(Restore),
    #[command(subcommand)]
    Sstable(Sstable),
    #[command(subcommand)]
    Bench(Bench),
    Demo(Demo),
    #[command(hide = true)]
    DemoWorker(DemoWorker),
}

/// Where the store is.
#[derive(Args, Debug, Clone)]
pub struct Place {
    /// The store's directory.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
}

/// The store that a command opens.
#[derive(Args, Debug, Clone)]
pub struct Data {
    /// The store's directory.
    #[arg(long, value_name = "DIR", required_unless_present = "config")]
    pub data: Option<PathBuf>,
    /// A configuration file, TOML, as `docs/config.toml` has it. What is given here wins over it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Open the store with so many shards from now on, one core and one thread each, 1 to 64. Default: as many as it has, and
    /// for a new store as many as there are cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub shards: Option<u16>,
}

impl Data {
    /// The store in `dir`, with the shards that it has.
    pub fn of(dir: &Path) -> Data {
        Data {
            data: Some(dir.to_owned()),
            config: None,
            shards: None,
        }
    }
}

/// Serve a store to Cassandra's drivers, shells and tools: the native protocol, version 4.
///
/// The store is created if it is not there. It runs until SIGTERM or SIGINT; then no more requests are taken, those that were are
/// answered, and the store is closed.
///
///   scrollback serve --data ./chat
///   cqlsh 127.0.0.1 9042
///
/// What is given here wins over the environment, and that over the table [server] of --config FILE, which has the same names with _
/// for -. Logs go to standard error: SCROLLBACK_LOG=info, and SCROLLBACK_LOG_FORMAT=json for one object a line.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Serve {
    #[command(flatten)]
    pub data: Data,
    #[command(flatten)]
    pub settings: ServeSettings,
}

/// Settings of a server.
#[derive(Args, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServeSettings {
    /// Where clients connect. Only addresses of this machine's loopback are taken, because there is no authentication yet.
    /// Default: 127.0.0.1:9042.
    #[arg(long, value_name = "ADDR:PORT", env = "SCROLLBACK_LISTEN")]
    pub listen: Option<std::net::SocketAddr>,
    /// The port whose connections are placed on the shard `client port modulo shards`, for shard-aware drivers; 0: none.
    /// Default: 19042.
    #[arg(long, value_name = "PORT", env = "SCROLLBACK_SHARD_AWARE_PORT")]
    pub shard_aware_port: Option<u16>,
    /// The cluster's name. Default: Scrollback.
    #[arg(long, value_name = "NAME", env = "SCROLLBACK_CLUSTER_NAME")]
    pub cluster_name: Option<String>,
    /// The name of this node's data center. Default: datacenter1.
    #[arg(long, value_name = "NAME", env = "SCROLLBACK_DATACENTER")]
    pub datacenter: Option<String>,
    /// Names of other data centers that keyspaces may be replicated to.
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        env = "SCROLLBACK_OTHER_DATACENTERS"
    )]
    pub other_datacenters: Option<Vec<String>>,
    /// The name of this node's rack. Default: rack1.
    #[arg(long, value_name = "NAME", env = "SCROLLBACK_RACK")]
    pub rack: Option<String>,
    /// The longest frame that is taken, header included. Default: 16MiB.
    #[arg(long, value_name = "SIZE", env = "SCROLLBACK_FRAME_BYTES_MAX")]
    #[serde(deserialize_with = "size")]
    pub frame_bytes_max: Option<Size>,
    /// Connections of each shard; further ones are closed at once. Default: 25000.
    #[arg(long, value_name = "N", env = "SCROLLBACK_CONNECTIONS_MAX")]
    pub connections_max: Option<usize>,
    /// Requests of one connection that are under way at once; further ones wait in its socket. Default: 1024.
    #[arg(long, value_name = "N", env = "SCROLLBACK_REQUESTS_MAX", value_parser = at_least_one)]
    pub requests_max: Option<usize>,
    /// Seconds that a connection has to begin its session, and to send the rest of a frame that has begun. Default: 10.
    #[arg(long, value_name = "SECONDS", env = "SCROLLBACK_STARTUP_TIMEOUT")]
    pub startup_timeout: Option<u64>,
    /// Seconds that a connection may say nothing; 0, the default: for ever.
    #[arg(long, value_name = "SECONDS", env = "SCROLLBACK_IDLE_TIMEOUT")]
    pub idle_timeout: Option<u64>,
    /// Milliseconds that a SELECT may take that has no USING TIMEOUT; 0: as long as it takes. Default: 10000.
    #[arg(long, value_name = "MILLISECONDS", env = "SCROLLBACK_READ_TIMEOUT")]
    pub read_timeout: Option<u64>,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

/// A size as configuration files have it: bytes, or a text as "16MiB".
fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Size>, D::Error> {
    use serde::Deserialize;
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        Bytes(u64),
        Text(String),
    }
    match Said::deserialize(deserializer)? {
        Said::Bytes(bytes) => Ok(Some(Size(bytes))),
        Said::Text(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

impl ServeSettings {
    /// These, and where they say nothing those.
    pub fn or(self, other: ServeSettings) -> ServeSettings {
        ServeSettings {
            listen: self.listen.or(other.listen),
            shard_aware_port: self.shard_aware_port.or(other.shard_aware_port),
            cluster_name: self.cluster_name.or(other.cluster_name),
            datacenter: self.datacenter.or(other.datacenter),
            other_datacenters: self.other_datacenters.or(other.other_datacenters),
            rack: self.rack.or(other.rack),
            frame_bytes_max: self.frame_bytes_max.or(other.frame_bytes_max),
            connections_max: self.connections_max.or(other.connections_max),
            requests_max: self.requests_max.or(other.requests_max),
            startup_timeout: self.startup_timeout.or(other.startup_timeout),
            idle_timeout: self.idle_timeout.or(other.idle_timeout),
            read_timeout: self.read_timeout.or(other.read_timeout),
        }
    }
}

/// Import chat history from a file of JSON lines, plain or gzip.
///
/// Each line is one message:
///
///   {"ts_ms":1100521080000,"channel":"#ubuntu","author":"tweaked","content":"how many partitions?"}
///
/// The file is checked first. A bad line is named by its number and nothing is imported, unless --skip-bad is given.
/// A message's id follows from its time and its place within that millisecond, so importing the same file again adds
/// nothing and brings back nothing that was deleted. An interrupted import is simply run again.
///
/// The store is created if it is not there. Ids count from its epoch (2015-01-01 if none is given), which never changes:
/// choose an epoch before your oldest message.
///
///   scrollback import --data ./chat --epoch 2004-01-01T00:00:00Z ubuntu-irc.jsonl.gz
///
/// With --format jsonl: {"acknowledged":N} several times a second (the first N lines of the file are on disk), and at
/// last {"read":N,"added":N,"present":N,"bad":N}.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Import {
    #[command(flatten)]
    pub data: Data,
    /// The instant from which a new store's ids count, as 2015-01-01T00:00:00Z; of an existing store, it must be its own.
    #[arg(long, value_name = "RFC3339")]
    pub epoch: Option<Timestamp>,
    /// Memory for recent writes, per shard, after which they are written to a table file: 1MiB, … Default: 64MiB, or what the
    /// configuration file says.
    #[arg(long, value_name = "SIZE")]
    pub memtable_bytes: Option<Size>,
    /// Leave out bad lines instead of refusing the file; each is named on standard error.
    #[arg(long)]
    pub skip_bad: bool,
    /// The file: JSON lines, plain or gzip.
    #[arg(value_name = "FILE.jsonl[.gz]")]
    pub file: PathBuf,
}

/// List the channels with their message counts, first and last time.
///
/// Counting reads every message once.
#[derive(Args, Debug)]
pub struct Channels {
    #[command(flatten)]
    pub data: Data,
}

/// Scroll through a channel's messages, newest first.
///
///   scrollback history --data ./chat --channel '#ubuntu' --limit 50
///   scrollback history --data ./chat --channel '#ubuntu' --limit 50 --before 1234567890
///   scrollback history --data ./chat --channel '#ubuntu' --all --oldest-first --format jsonl
///
/// With --format jsonl each message is {"id":"…","ts_ms":N,"channel":"…","author":"…","content":"…"}, with "edited_ms"
/// if it was edited. The id of the last message shown is the cursor for the next page: --before it, or --after it with
/// --oldest-first.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
#[command(group = clap::ArgGroup::new("extent").required(true).args(["limit", "all"]))]
pub struct History {
    #[command(flatten)]
    pub data: Data,
    /// The channel's name.
    #[arg(long, value_name = "NAME")]
    pub channel: String,
    /// At most this many messages.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// All messages there are.
    #[arg(long)]
    pub all: bool,
    /// Messages asked for at once; what is shown is the same.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub page_size: u32,
    /// Only messages with an id before this one.
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    pub before: Option<MessageId>,
    /// Only messages with an id after this one.
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    pub after: Option<MessageId>,
    /// Oldest first instead of newest first.
    #[arg(long)]
    pub oldest_first: bool,
    /// Add on standard error, page by page, one object with what it cost: sstables opened, data blocks, device reads,
    /// rows merged, rows found dead.
    #[arg(long)]
    pub explain: bool,
}

/// Send a message to a channel and print its id.
///
/// The channel is created by its first message. The id is printed once the message is on disk.
#[derive(Args, Debug)]
pub struct Send {
    #[command(flatten)]
    pub data: Data,
    /// The channel's name.
    #[arg(long, value_name = "NAME")]
    pub channel: String,
    /// The author's name.
    #[arg(long, value_name = "NAME")]
    pub author: String,
    /// The text, at most 1 MiB; it may be empty.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub content: String,
    /// Send it once: if this author has sent to the channel with this nonce within ten minutes, the id of that message is printed.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub nonce: Option<String>,
}

/// Give a message another content.
///
/// A message that is not there, or was deleted, is not edited: status 1.
#[derive(Args, Debug)]
pub struct Edit {
    #[command(flatten)]
    pub data: Data,
    /// The channel's name.
    #[arg(long, value_name = "NAME")]
    pub channel: String,
    /// The message's id.
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    pub id: MessageId,
    /// The new text, at most 1 MiB; it may be empty.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub content: String,
    /// The author who must have written it; another one's message is not edited.
    #[arg(long, value_name = "NAME")]
    pub author: Option<String>,
}

/// Delete a message, or many of a channel.
///
/// A message that is not there, or was deleted before: status 1. With --bucket and --all nothing is looked at, and
/// nothing to delete is no error.
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("which").required(true)))]
pub struct Delete {
    #[command(flatten)]
    pub data: Data,
    /// The channel's name.
    #[arg(long, value_name = "NAME")]
    pub channel: String,
    /// The message's id.
    #[arg(long, value_name = "ID", allow_negative_numbers = true, group = "which")]
    pub id: Option<MessageId>,
    /// All messages in the bucket (ten days, if the store was not made otherwise) in which a message with this id lies.
    #[arg(long, value_name = "ID", allow_negative_numbers = true, group = "which")]
    pub bucket: Option<MessageId>,
    /// All messages of the channel.
    #[arg(long, group = "which")]
    pub all: bool,
    /// The author who must have written the message; another one's is not deleted.
    #[arg(long, value_name = "NAME", requires = "id")]
    pub author: Option<String>,
}

/// Show how long the buckets of a channel last, or change it from a border to come on.
///
/// The messages of a channel lie in one partition for each bucket, a window of time: ten days, if the store was not made
/// otherwise. A busy channel may want shorter ones. What lies before the border stays as it is, and a change that has not
/// come yet is undone by asking for the window before it again.
///
///   scrollback window --data ./chat --channel '#ubuntu'
///   scrollback window --data ./chat --channel '#ubuntu' --hours 24
///
/// With --format jsonl each window is {"from_ms":N,"hours":N,"in_force":false}, oldest first, and at last comes
/// {"channel":"…","hours":N,"store_hours":N,"next_border_ms":N}: the window in force, that of the store, and the first
/// border from which on it can be changed.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Window {
    #[command(flatten)]
    pub data: Data,
    /// The channel's name.
    #[arg(long, value_name = "NAME")]
    pub channel: String,
    /// Make the buckets last so many hours.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(messages::Window::HOURS_MAX)))]
    pub hours: Option<u32>,
    /// The border from which on they do, as 2030-01-01T00:00:00Z; one in the middle of a bucket is refused with the next that
    /// would do. Default: the first one after every message.
    #[arg(long, value_name = "RFC3339", requires = "hours")]
    pub from: Option<Timestamp>,
}

/// Show a store's figures, shard by shard: tables, files, memory, log, cache, longest stall.
///
/// A store that runs in another process is asked through the socket in its directory, for what it has done since it was
/// opened.
#[derive(Args, Debug)]
pub struct Stats {
    #[command(flatten)]
    pub data: Data,
    /// Prometheus' text format.
    #[arg(long)]
    pub prometheus: bool,
}

/// Watch a running store: operations, times, caches, memory, the longest stall, and its hottest channels, each second.
///
/// It asks through the socket in the store's directory, and ends when the store closes.
///
///   scrollback top --data ./chat
///
/// With --format jsonl: {"shards":[{"shard":0,"writes_s":N,…}],"hot":[{"by":"reads","partition":"…","amount":N}]}.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Top {
    #[command(flatten)]
    pub data: Data,
    /// Show one interval and end.
    #[arg(long)]
    pub once: bool,
    /// Milliseconds between two looks.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=3_600_000))]
    pub interval_ms: u64,
}

/// Compact all of a table, or of all tables: what was deleted or has ended goes for good, if its grace has passed.
///
/// It is seldom needed: a store compacts by itself what is worth it. All that is in memory is flushed; then the files of a
/// table become one on each shard, or one for each epoch or window, as its option `compaction` says. It reads and writes all
/// of the table. Readers and writers go on.
///
/// A running store is asked through the socket in its directory, and does it whether or not this command waits. A closed one
/// is opened for it.
///
///   scrollback compact --data ./chat --table messages.messages --wait
///
/// With --format jsonl: {"begun":true,"running":true} at once or, when it is done,
/// {"compacted":true,"running":true,"sstables_before":N,"sstable_bytes_before":N,"sstables":N,"sstable_bytes":N}, of the whole store.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Compact {
    #[command(flatten)]
    pub data: Data,
    /// Only this table.
    #[arg(long, value_name = "KEYSPACE.TABLE")]
    pub table: Option<String>,
    /// Return when it is done, and show how far it is. Of a closed store it always does.
    #[arg(long)]
    pub wait: bool,
}

/// Say whether a store runs, since when, where it listens, and how much it has.
///
/// The exit status is 0 if it runs and answers, 1 if not.
///
///   scrollback status --data ./chat
///
/// With --format jsonl: {"running":true,"version":"…","pid":N,"uptime_s":N,"shards":N,"tables":N,"sstables":N,"sstable_bytes":N,
/// "memtable_bytes":N,"log_bytes":N} and, of a server, "listen", "shard_aware_listen", "cluster" and "host_id".
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Status {
    #[command(flatten)]
    pub data: Data,
}

/// Write what is in memory to table files.
///
/// Nothing needs it to be safe: what was acknowledged is in the log. A running store is asked through the socket in its
/// directory; a closed one is opened, and has nothing in memory when it is closed again.
/// With --format jsonl: {"flushed":true,"running":true}.
#[derive(Args, Debug)]
pub struct Flush {
    #[command(flatten)]
    pub data: Data,
}

/// Show what is being compacted and how far it is, what waits, what was done, and large partitions.
///
/// What was done, and partitions that were large when they were written (above large_partition_bytes, or with more tombstones
/// than large_partition_tombstones), are remembered since the store was opened: ask the one that runs.
///
///   scrollback compaction-stats --data ./chat
///
/// With --format jsonl an object for each shard, {"shard":0,"running":{…},"asked":["…"],"waiting_jobs":N,"waiting_bytes":N,
/// "history":[…],"large_partitions":[…]}, and at last {"shards":N,"running":true}: whether the store runs.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct CompactionStats {
    #[command(flatten)]
    pub data: Data,
}

/// Show what lies on the disk: by table, by epoch, the largest channels and partitions.
///
/// It reads the indexes of all table files. Rows, partitions and tombstones that stand in several files count several times.
/// Sizes are those of the files, compressed.
///
///   scrollback disk-usage --data ./chat
///
/// With --format jsonl an object for each table, {"table":"…","files":N,"bytes":N,…,"epochs":[{"first_ms":N,"bytes":N}],
/// "largest_partitions":[{"key":"0x…","bytes":N}],…}, and at last {"tables":N,"files":N,"bytes":N}.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct DiskUsage {
    #[command(flatten)]
    pub data: Data,
}

/// Make a snapshot: everything that was acknowledged before it, in snapshots/NAME below the store's directory.
///
/// The files are hard links: a snapshot takes no space until the store no longer has them. It is a whole store, to be
/// restored from, backed up, or copied by any other tool. Remove its folder when it is not needed any more. A running store is
/// asked through the socket in its directory, and goes on.
///
///   scrollback snapshot --data ./chat before-the-upgrade
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Snapshot {
    #[command(flatten)]
    pub data: Data,
    /// The snapshot's name: letters, digits, '-', '_' and '.'.
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Bring a backup in another folder up to date, or begin one.
///
/// A snapshot is made; the table files that the backup does not have yet are copied, each copy is verified, and the
/// backup's manifest is replaced last. A backup that is cut off leaves the one before as it was; run it again.
///
///   scrollback backup --data ./chat --to /mnt/backup/chat
///
/// With --format jsonl: {"copied":N,"bytes":N,"present":N,"removed":N}, in table files.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Backup {
    #[command(flatten)]
    pub data: Data,
    /// The backup's folder.
    #[arg(long, value_name = "FOLDER")]
    pub to: PathBuf,
}

/// Make a store of a snapshot or backup, or a new table of one of its tables.
///
///   scrollback restore --from /mnt/backup/chat --data ./restored
///   scrollback restore --from /mnt/backup/chat --data ./chat --table messages.messages --as messages_yesterday
///
/// A store is restored into a directory that is empty or not there; every file is verified after it was copied. A table is
/// written into the present store, in its keyspace, under a new name, with its tombstones and timestamps.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Restore {
    #[command(flatten)]
    pub data: Data,
    /// The folder of the snapshot or backup.
    #[arg(long, value_name = "FOLDER")]
    pub from: PathBuf,
    /// Only this table, into the store that is there.
    #[arg(long, value_name = "KEYSPACE.TABLE", requires = "new_name")]
    pub table: Option<String>,
    /// Name of the new table.
    #[arg(long = "as", value_name = "NAME", requires = "table")]
    pub new_name: Option<String>,
}

/// Verify every byte of a closed store.
///
/// Each damaged file is named with the offset of its damage, and the status is 1. Nothing is changed.
/// With --format jsonl: {"files":N,"bytes":N,"damaged":[{"file":"…","offset":N,"what":"…"}]}.
#[derive(Args, Debug)]
pub struct Check {
    #[command(flatten)]
    pub place: Place,
}

/// Look into a table file, offline and memory-mapped.
#[derive(Subcommand, Debug)]
pub enum Sstable {
    /// Print everything in the file, one partition, row or range change a line.
    Dump(TableFile),
    /// Print the file's statistics.
    Stats(TableFile),
    /// Verify every byte; status 1 and the offset if it is damaged.
    Verify(TableFile),
}

/// A table file.
#[derive(Args, Debug)]
pub struct TableFile {
    /// The file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Measure one workload and print its figures.
///
/// The store is made in a new folder, in --data or else in the system's temporary directory, and removed afterwards.
#[derive(Subcommand, Debug)]
pub enum Bench {
    /// Messages written by many writers, each acknowledged before its writer's next.
    Ingest(BenchIngest),
    /// The newest 50 messages of a channel, from memory or, with --cold, from table files.
    Page(BenchPage),
    /// One message by its id or, with --absent, ids that no message has.
    Get(BenchGet),
    /// The newest 50 messages of one channel, asked for by many at once.
    Crowd(BenchCrowd),
    /// The newest 50 messages of a channel behind many that were deleted one by one.
    Deleted(BenchDeleted),
    /// Durable writes while memtables of --memtable-bytes are flushed or, with --snapshot, a snapshot is taken or, with --compact,
    /// everything is compacted, beside the same without.
    Flush(BenchFlush),
    /// Opening a store whose --messages are all in the log and in no table file, as after a crash.
    Recovery(Workload),
    /// Durable inserts and pages just after a store was opened with another number of shards, beside later ones.
    Reshard(BenchReshard),
    /// Deleting a channel with large buckets, or small ones: what is written for it, and what becomes of its files.
    Buckets(BenchBuckets),
    /// Weeks of a skewed load in minutes: what is written and kept on disk for it, by cause, and a plot of it.
    Compaction(BenchCompaction),
    /// Prepared inserts and pages over the Cassandra protocol: a server in a process of its own, and a client of raw frames.
    Cql(BenchCql),
}

/// `bench cql`
#[derive(Args, Debug)]
pub struct BenchCql {
    /// A directory for the server's store, empty or not there; without it a temporary one.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Shards of the server.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub shards: u16,
    /// Connections.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub connections: u32,
    /// Requests of each connection that are under way at once.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub in_flight: u32,
    /// Bytes of a message's content.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub content_bytes: u32,
    /// Seconds of each part.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
    /// Connections that say nothing, for what one costs.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    pub idle_connections: u32,
    /// Writes and pages of the embedded engine, for comparison.
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub embedded: u64,
}

/// What all workloads take.
#[derive(Args, Debug, Clone)]
pub struct Workload {
    /// Messages written or, for `page`, messages to read from. (`flush` writes as many as its time takes.)
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub messages: u64,
    /// Tasks that work at the same time, spread over the shards.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub writers: u32,
    /// When a write is acknowledged: after its own sync (`group`), or at once and synced later (`periodic`).
    #[arg(long, value_enum, default_value_t = Sync::Group)]
    pub sync: Sync,
    /// Shards: one core and one thread each. Default: as many as there are cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub shards: Option<u16>,
    /// What the shards run on. Default: io_uring, or plain threads where it is not to be had.
    #[arg(long, value_enum)]
    pub body: Option<Body>,
    /// The seed of the data.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Bytes of one message's content.
    #[arg(long, value_name = "SIZE", default_value = "200")]
    pub content_bytes: Size,
    /// Memory for recent writes, per shard, after which they are written to a table file.
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    pub memtable_bytes: Size,
    /// Where the store's new folder is made.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// `bench ingest`
#[derive(Args, Debug)]
pub struct BenchIngest {
    #[command(flatten)]
    pub workload: Workload,
    /// Messages in one write.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
    /// Flush everything to table files within the measured time.
    #[arg(long)]
    pub flush: bool,
    /// Compact everything to one run of table files on each shard within the measured time.
    #[arg(long)]
    pub compact: bool,
}

/// `bench buckets`
#[derive(Args, Debug)]
pub struct BenchBuckets {
    #[command(flatten)]
    pub workload: Workload,
    /// Buckets of each channel.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub buckets: u32,
    /// Bytes of content in each of the large buckets.
    #[arg(long, value_name = "SIZE", default_value = "20MiB")]
    pub bucket_bytes: Size,
    /// Delete a channel with small buckets instead.
    #[arg(long)]
    pub small: bool,
}

/// `bench compaction`
#[derive(Args, Debug)]
pub struct BenchCompaction {
    #[command(flatten)]
    pub workload: Workload,
    /// How the files of messages are compacted.
    #[arg(long, value_enum, default_value_t = Strategy::TimeTiered)]
    pub strategy: Strategy,
    /// Days that the load lasts, by the clock that the store sees.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// Channels.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub channels: u32,
    /// The exponent of Zipf's law by which channels are chosen; 0: all alike.
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    pub skew: f64,
    /// Messages in one write.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub group: u32,
    /// Percent of the messages that arrive late, half of them within an epoch, the others at any time after they were written.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub late: u32,
    /// Percent of the messages that are edited or deleted in the end, as many the one as the other.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub changed: u32,
    /// Hours of an epoch, and of a bucket.
    #[arg(long, value_name = "N", default_value_t = 240, value_parser = clap::value_parser!(u32).range(1..=87_600))]
    pub epoch_hours: u32,
    /// Where the plot goes, as SVG.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
}

/// How files are compacted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Strategy {
    /// By size, as Cassandra does by default.
    SizeTiered,
    /// By the time of the messages' ids.
    TimeTiered,
    /// By the time at which they were written.
    TimeWindow,
    /// Not at all.
    None,
}

/// `bench get`
#[derive(Args, Debug)]
pub struct BenchGet {
    #[command(flatten)]
    pub workload: Workload,
    /// Messages asked for.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub lookups: u64,
    /// Ask for ids that no message has.
    #[arg(long)]
    pub absent: bool,
    /// Flush first.
    #[arg(long)]
    pub flushed: bool,
}

/// `bench crowd`
#[derive(Args, Debug)]
pub struct BenchCrowd {
    #[command(flatten)]
    pub workload: Workload,
    /// Readers of the one channel, at the same moment.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub readers: u32,
    /// Milliseconds between two crowds.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub every_ms: u32,
}

/// `bench flush`
#[derive(Args, Debug)]
pub struct BenchFlush {
    #[command(flatten)]
    pub workload: Workload,
    /// Readers of newest pages beside the writers, spread over the shards; each pauses for a millisecond between two pages.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=65_536))]
    pub readers: u32,
    /// Take a snapshot, which flushes all shards and links their files.
    #[arg(long)]
    pub snapshot: bool,
    /// Compact everything, all that was written in the rounds before included.
    #[arg(long, conflicts_with = "snapshot")]
    pub compact: bool,
}

/// `bench reshard`
#[derive(Args, Debug)]
pub struct BenchReshard {
    #[command(flatten)]
    pub workload: Workload,
    /// Shards with which the store was written: half of the messages are in table files then, half in the logs.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub from: u16,
    /// Readers of newest pages beside the writers, spread over the shards; each pauses for a millisecond between two pages.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub readers: u32,
}

/// `bench deleted`
#[derive(Args, Debug)]
pub struct BenchDeleted {
    #[command(flatten)]
    pub workload: Workload,
    /// Messages deleted.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub deleted: u64,
    /// Channels measured in each state; the median is told.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Only when the grace of the deletions has passed and everything is compacted, without a row cache; and what a page reads then.
    #[arg(long)]
    pub settled: bool,
}

/// `bench page`
#[derive(Args, Debug)]
pub struct BenchPage {
    #[command(flatten)]
    pub workload: Workload,
    /// Pages read.
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub pages: u64,
    /// Messages of one page.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Flush and reopen first, so that pages come from table files.
    #[arg(long)]
    pub cold: bool,
    /// Flush first: pages come from the row cache, which the flush has fed.
    #[arg(long, conflicts_with = "cold")]
    pub flushed: bool,
}

/// What shards run on.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// io_uring and direct I/O.
    Uring,
    /// Plain threads that read and write.
    Threads,
}

/// When a write is acknowledged.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// After the synchronous write of the log that holds it.
    Group,
    /// At once; its log write is synced a moment later.
    Periodic,
}

/// See it work: load, scroll, kill, recover, check.
///
/// A worker process writes a skewed chat load on all shards, scrolls back, edits and deletes. Midway it is killed with
/// SIGKILL and started again. At the end every acknowledged message, edit and delete is checked. The last line is
/// {"acknowledged":N,"missing":0,"revived":0,"recovered":true}.
#[derive(Args, Debug)]
pub struct Demo {
    /// The directory to use, which must be empty or not exist; kept afterwards. Default: a temporary one, removed.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// How long the load runs, before and after the kill together.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// Shards: one core and one thread each. Default: as many as there are cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub shards: Option<u16>,
    /// The seed of the load.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// The process that `demo` kills.
#[derive(Args, Debug)]
pub struct DemoWorker {
    #[command(flatten)]
    pub data: Data,
    #[arg(long)]
    pub seed: u64,
    #[arg(long)]
    pub clients: u32,
    #[arg(long, default_value_t = CHANNELS)]
    pub channels: u32,
    #[arg(long, default_value = "1MiB")]
    pub memtable_bytes: Size,
    /// Clients whose history begins with this start.
    #[arg(long, default_value_t = 0, action = ArgAction::Set)]
    pub start: u32,
}
