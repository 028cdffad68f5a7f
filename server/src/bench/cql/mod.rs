//! `bench cql`: a server in a process of its own, and a client of raw frames beside it.
//!
//! - CPU is the server process's own, user and system together, read from the kernel before and after each part.
//! - A part at half of the saturating rate sends at times that are due, whether or not earlier requests were answered; latencies count
//!   from then.
//! - The embedded figures are the same writes and reads by `Store`, from this process, as many at once.

mod client;

use super::figures::{Figures, round};
use super::probe;
use crate::failure::{Done, Failure};
use crate::in_flight::InFlight;
use crate::{cli, output::Format, scratch};
use client::{Client, Seen, drive_closed, drive_open, execute};
use cql::frame::Value;
use engine::{Config, Read, Store};
use hdrhistogram::Histogram;
use model::{ColumnId, MutationBuilder, RowBuilder};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Channels of each shard.
const CHANNELS: usize = 32;
/// Messages of each channel before pages are read.
const LOADED: u64 = 200;
/// Rows of a page.
const PAGE: u64 = 50;
/// The first message ids; those of each connection lie apart.
const FIRST_ID: i64 = 1 << 40;

/// The server, ended with this.
struct Server {
    child: Child,
    address: SocketAddr,
    by_port: SocketAddr,
    shards: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // By its own id; it is this process's child.
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn free_port() -> Done<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let port = listener.and_then(|listener| listener.local_addr());
    port.map(|address| address.port())
        .map_err(|error| Failure::new(format_args!("no free port: {error}")))
}

impl Server {
    fn start(dir: &Path, shards: u16) -> Done<Server> {
        let failed = |error: std::io::Error| Failure::new(format_args!("the server does not start: {error}"));
        let (port, shard_port) = (free_port()?, free_port()?);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut child = Command::new(std::env::current_exe().map_err(failed)?)
            .arg("serve")
            .arg("--data")
            .arg(dir)
            .args(["--shards", &shards.to_string()])
            .args(["--listen", &address.to_string()])
            .args(["--shard-aware-port", &shard_port.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
        let server = Server {
            child,
            address,
            by_port: SocketAddr::from((Ipv4Addr::LOCALHOST, shard_port)),
            shards,
        };
        match line.starts_with("listening") {
            true => Ok(server),
            false => Err(Failure::new(format_args!(
                "the server does not listen; it says {line:?}"
            ))),
        }
    }

    /// A figure of the kernel about the process: the field of `/proc/PID/stat` behind the command, from 0.
    fn stat(&self, field: usize) -> Done<u64> {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = std::fs::read_to_string(&path).map_err(|error| Failure::new(format_args!("{path}: {error}")))?;
        let behind = text.rsplit_once(") ").map_or("", |(_, behind)| behind);
        let value = behind.split(' ').nth(field).and_then(|value| value.parse().ok());
        value.ok_or_else(|| Failure::new(format_args!("{path} has no field {field}")))
    }

    /// User and system time.
    fn cpu(&self) -> Done<Duration> {
        // In hundredths of a second, whatever the kernel's own ticks are.
        let ticks = self.stat(11)? + self.stat(12)?;
        Ok(Duration::from_millis(ticks * 10))
    }

    fn resident_bytes(&self) -> Done<u64> {
        Ok(self.stat(21)? * 4096)
    }

    fn connect(&self, shard: Option<u16>) -> Done<Client> {
        match shard {
            Some(shard) => Client::connect(self.by_port, Some((shard, self.shards))),
            None => Client::connect(self.address, None),
        }
    }
}

/// The partition key of a channel.
fn key_of(channel: i64) -> [u8; 18] {
    let mut key = [0; 18];
    key[1] = 8;
    key[2..10].copy_from_slice(&channel.to_be_bytes());
    key[12] = 4;
    key
}

/// Channels that a shard owns.
fn channels_of(shard: u16, shards: u16) -> Vec<i64> {
    (1..)
        .filter(|channel| model::shard_of(model::token_of(&key_of(*channel)), shards) == shard)
        .take(CHANNELS)
        .collect()
}

const DDL: [&str; 2] = [
    "CREATE KEYSPACE bench WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE bench.messages (channel_id bigint, bucket_id int, message_id bigint, author_id bigint, content text, \
     PRIMARY KEY ((channel_id, bucket_id), message_id)) WITH CLUSTERING ORDER BY (message_id DESC)",
];
const INSERT: &str =
    "INSERT INTO bench.messages (channel_id, bucket_id, message_id, author_id, content) VALUES (?, ?, ?, ?, ?)";
const SELECT: &str =
    "SELECT message_id, author_id, content FROM bench.messages WHERE channel_id = ? AND bucket_id = ? LIMIT 50";

/// Which requests are sent.
#[derive(Clone, Copy, PartialEq)]
enum What {
    Insert,
    Page,
}

/// How requests are sent.
#[derive(Clone, Copy)]
enum Pace {
    /// So many are under way on each connection at all times.
    Closed(usize),
    /// So many a second by all connections together, whether or not earlier ones were answered.
    Open(f64),
}

/// What the connections of one part have seen together.
struct Part {
    per_s: f64,
    cpu_us: f64,
    errors: u64,
    latency_ns: Histogram<u64>,
}

struct Bench<'a> {
    server: &'a Server,
    args: &'a cli::BenchCql,
    content: String,
    /// So that no part writes the ids of another.
    parts: i64,
}

impl Bench<'_> {
    /// One part: all connections do the same. `aware`: each asks only for what its own shard has.
    fn part(&mut self, what: What, aware: bool, pace: Pace, time: Duration) -> Done<Part> {
        let shards = self.server.shards;
        self.parts += 1;
        let mut clients = Vec::new();
        for at in 0..self.args.connections {
            let shard = u16::try_from(at % u32::from(shards)).expect("at most 64 shards");
            let mut client = self.server.connect(aware.then_some(shard))?;
            let id = client.prepare(if what == What::Insert { INSERT } else { SELECT })?;
            let channels = match aware {
                true => channels_of(shard, shards),
                false => (0..shards).flat_map(|shard| channels_of(shard, shards)).collect(),
            };
            clients.push((client, id, channels));
        }
        let connections = f64::from(self.args.connections);
        let content = &self.content;
        let first = FIRST_ID + self.parts * (1 << 36);
        let cpu = self.server.cpu()?;
        #[expect(clippy::disallowed_methods, reason = "on the main thread, outside every shard")]
        let began = std::time::Instant::now();
        let seen: Vec<Done<Seen>> = std::thread::scope(|scope| {
            let threads = clients.into_iter().enumerate().map(|(at, (client, id, channels))| {
                let first = first + (at as i64) * (1 << 30);
                scope.spawn(move || {
                    let request = |count: u64, stream: i16, out: &mut Vec<u8>| {
                        let channel = channels[count as usize % channels.len()].to_be_bytes();
                        let message = (first + count as i64).to_be_bytes();
                        let (bucket, author) = (0_i32.to_be_bytes(), 7_i64.to_be_bytes());
                        match what {
                            What::Insert => {
                                let values = [
                                    Value::Bytes(&channel),
                                    Value::Bytes(&bucket),
                                    Value::Bytes(&message),
                                    Value::Bytes(&author),
                                    Value::Bytes(content.as_bytes()),
                                ];
                                execute(out, stream, &id, &values, Some(first + count as i64));
                            }
                            What::Page => {
                                execute(out, stream, &id, &[Value::Bytes(&channel), Value::Bytes(&bucket)], None);
                            }
                        }
                    };
                    match pace {
                        Pace::Closed(window) => drive_closed(client, window, time, request),
                        Pace::Open(per_s) => drive_open(client, per_s / connections, time, request),
                    }
                })
            });
            let threads: Vec<_> = threads.collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a client does not panic"))
                .collect()
        });
        let wall = began.elapsed().as_secs_f64();
        let cpu = (self.server.cpu()? - cpu).as_secs_f64();
        let mut part = Part {
            per_s: 0.0,
            cpu_us: 0.0,
            errors: 0,
            latency_ns: Histogram::new(3).expect("three digits"),
        };
        let mut answered = 0;
        for seen in seen {
            let seen = seen?;
            answered += seen.answered;
            part.errors += seen.errors;
            part.latency_ns.add(&seen.latency_ns).expect("histograms of one kind");
        }
        part.per_s = answered as f64 / wall;
        part.cpu_us = cpu * 1e6 / (answered.max(1)) as f64;
        Ok(part)
    }
}

/// The embedded engine, doing the same: CPU of a write and of a page, microseconds.
fn embedded(args: &cli::BenchCql, content: &str) -> Done<(f64, f64)> {
    let folder = scratch::Folder::new(None, "bench")?;
    let mut config = Config::new(folder.path());
    config.shards = Some(usize::from(args.shards));
    runtime::block_on(async {
        let store = Store::open(config).await?;
        let schema = model::Schema::builder("bench", "messages")
            .partition_key("channel_id", model::CqlType::BigInt)
            .partition_key("bucket_id", model::CqlType::Int)
            .clustering_desc("message_id", model::CqlType::BigInt)
            .regular("author_id", model::CqlType::BigInt)
            .regular("content", model::CqlType::Text)
            .build()
            .map_err(|error| Failure::new(format_args!("{error}")))?;
        let table = store.create_table(schema, true).await?;
        let channels: Vec<i64> = (0..args.shards)
            .flat_map(|shard| channels_of(shard, args.shards))
            .collect();
        let at_once = (args.connections * args.in_flight) as usize;
        let (mut mutation, mut row) = (MutationBuilder::new(table.id, b"-"), RowBuilder::new());
        let mut writes = InFlight::new();
        let count = args.embedded;
        let cpu = probe::cpu();
        for n in 0..count {
            let timestamp = FIRST_ID + n as i64;
            mutation.reset(table.id, &key_of(channels[n as usize % channels.len()]));
            row.clear().liveness(timestamp);
            row.cell(ColumnId(3), timestamp, &7_i64.to_be_bytes());
            row.cell(ColumnId(4), timestamp, content.as_bytes());
            let clustering = table.encode_clustering(&[&timestamp.to_be_bytes()]);
            let clustering = clustering.map_err(|error| Failure::new(format_args!("{error}")))?;
            mutation.row(&clustering, row.finish());
            writes.push(store.apply(mutation.build()));
            if writes.len() >= at_once {
                writes.next().await.transpose()?;
            }
        }
        while writes.next().await.transpose()?.is_some() {}
        let write_us = (probe::cpu() - cpu).as_secs_f64() * 1e6 / count as f64;
        let mut reads = InFlight::new();
        let cpu = probe::cpu();
        for n in 0..count {
            let read = Read {
                limit_rows: PAGE as usize,
                ..Read::partition(table.id, key_of(channels[n as usize % channels.len()]))
            };
            reads.push(store.read(read));
            if reads.len() >= at_once {
                reads.next().await.transpose()?;
            }
        }
        while reads.next().await.transpose()?.is_some() {}
        let read_us = (probe::cpu() - cpu).as_secs_f64() * 1e6 / count as f64;
        store.close().await?;
        Ok((write_us, read_us))
    })
}

/// Measures.
pub fn run(args: &cli::BenchCql, format: Format) -> Done {
    let folder = scratch::Folder::new(args.data.as_deref(), "bench")?;
    let content: String = (0..args.content_bytes)
        .map(|at| char::from(b'a' + (at % 26) as u8))
        .collect();
    #[expect(clippy::disallowed_methods, reason = "on the main thread, outside every shard")]
    let began = std::time::Instant::now();
    let server = Server::start(folder.path(), args.shards)?;
    let mut control = server.connect(None)?;
    control.run("SELECT key FROM system.local WHERE key = 'local'")?;
    let first_answer_ms = began.elapsed().as_secs_f64() * 1e3;
    let idle_bytes = server.resident_bytes()?;
    for text in DDL {
        control.run(text)?;
    }
    let seconds = Duration::from_secs(u64::from(args.seconds));
    let mut bench = Bench {
        server: &server,
        args,
        content: content.clone(),
        parts: 0,
    };
    let window = Pace::Closed(args.in_flight as usize);
    // Each channel gets its messages, and everything is warm.
    let needed = Duration::from_secs_f64((LOADED * CHANNELS as u64 * u64::from(args.shards)) as f64 / 20_000.0);
    bench.part(What::Insert, true, window, needed.max(Duration::from_secs(1)))?;
    let insert = bench.part(What::Insert, true, window, seconds)?;
    let ignorant = bench.part(What::Insert, false, window, seconds)?;
    let insert_half = bench.part(What::Insert, true, Pace::Open(insert.per_s / 2.0), seconds)?;
    let page = bench.part(What::Page, true, window, seconds)?;
    let page_ignorant = bench.part(What::Page, false, window, seconds)?;
    let page_half = bench.part(What::Page, true, Pace::Open(page.per_s / 2.0), seconds)?;
    let before = server.resident_bytes()?;
    let mut idle = Vec::new();
    for _ in 0..args.idle_connections {
        idle.push(server.connect(None)?);
    }
    let connection_bytes = server.resident_bytes()?.saturating_sub(before) / u64::from(args.idle_connections.max(1));
    drop(idle);
    drop(server);
    let odsync_us = probe::odsync_mean_us(folder.path(), usize::from(args.shards))?;
    let (embedded_insert, embedded_page) = embedded(args, &content)?;
    let mut figures = Figures::named("cql", args.shards);
    let us = |part: &Part, quantile: f64| round(part.latency_ns.value_at_quantile(quantile) as f64 / 1000.0);
    for (name, part, half, other) in [
        ("insert", &insert, &insert_half, &ignorant),
        ("page", &page, &page_half, &page_ignorant),
    ] {
        figures.put(&format!("{name}_per_s"), round(part.per_s));
        figures.put(&format!("{name}_cpu_us"), round(part.cpu_us));
        figures.put(&format!("{name}_p50_us"), us(part, 0.5));
        figures.put(&format!("{name}_p99_us"), us(part, 0.99));
        figures.put(&format!("{name}_half_per_s"), round(half.per_s));
        figures.put(&format!("{name}_half_cpu_us"), round(half.cpu_us));
        figures.put(&format!("{name}_half_p50_us"), us(half, 0.5));
        figures.put(&format!("{name}_half_p99_us"), us(half, 0.99));
        figures.put(&format!("{name}_half_max_us"), us(half, 1.0));
        figures.put(&format!("{name}_ignoring_shards_per_s"), round(other.per_s));
        figures.put(&format!("{name}_ignoring_shards_cpu_us"), round(other.cpu_us));
        figures.put(
            &format!("{name}_ignoring_shards_ratio"),
            round(other.per_s / part.per_s),
        );
        figures.put(&format!("{name}_errors"), part.errors + half.errors + other.errors);
    }
    figures.put("insert_embedded_cpu_us", round(embedded_insert));
    figures.put("page_embedded_cpu_us", round(embedded_page));
    figures.put("odsync_raw_us", round(odsync_us));
    figures.put("connections", args.connections);
    figures.put("in_flight", args.in_flight);
    figures.put("first_answer_ms", round(first_answer_ms));
    figures.put("idle_resident_bytes", idle_bytes);
    figures.put("idle_connection_bytes", connection_bytes);
    figures.tell(format)
}
