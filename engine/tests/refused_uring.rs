//! A store opens, and keeps what it acknowledges, where the system refuses io_uring.
//!
//! The refusal must hold for the threads of the store alone, and can't be taken back: so the store runs in a process of its
//! own, this program called again for its one ignored test, which does what the environment says.

#![cfg(target_os = "linux")]

mod common;

use common::{history, message};
use scrollback_engine::{Body, Config, Error, Store};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

/// Names the process's part: how io_uring is refused, what to do, and where.
const PART: &str = "SCROLLBACK_TEST_PART";
const CHANNELS: i64 = 5;

/// Makes io_uring_setup fail with EPERM in this thread and those that it starts, as Docker's default profile does.
fn forbid_io_uring() {
    let statement = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let number = std::mem::offset_of!(libc::seccomp_data, nr) as u32;
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, number, 0, 0),
        statement(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            libc::SYS_io_uring_setup as u32,
            0,
            1,
        ),
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
            0,
            0,
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: this option takes numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the program and its filter are there for the whole call, which copies them.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Leaves this process 64 KiB of locked memory.
fn take_locked_memory() {
    let limit = libc::rlimit {
        rlim_cur: 64 << 10,
        rlim_max: 64 << 10,
    };
    // SAFETY: `limit` is valid for the whole call.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn config(dir: &Path) -> Config {
    Config {
        shards: Some(2),
        pin: false,
        memtable_bytes: 256 << 10,
        log_segment_bytes: 1 << 20,
        log_bytes_max: 8 << 20,
        ..Config::new(dir)
    }
}

/// Past the test harness, which would keep it.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).expect("a listener");
    out.flush().expect("a listener");
}

async fn write(dir: &Path) {
    let refused = Store::open(Config {
        body: Some(Body::Uring),
        ..config(dir)
    });
    let refused = refused.await.err().expect("io_uring is refused");
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
    say(&format!("refused: {refused}"));
    let checks = runtime::checks::startup(dir, 2, None).expect("plain threads will do");
    say(&format!("chosen: {}", checks.why_threads.expect("a line for the log")));

    let store = Store::open(config(dir)).await.expect("opens");
    assert_eq!(store.body(), Some(Body::Threads));
    let schema = store.create_table(common::chat(), true).await.expect("table");
    for first in (1..).step_by(20) {
        let ids = first..first + 20;
        let content = "x".repeat(300);
        let mutations = ids.clone().map(|id| message(&schema, id % CHANNELS, id, id, &content));
        store.apply_all(mutations.collect()).await.expect("written");
        for id in ids {
            say(&format!("acknowledged: {id}"));
        }
    }
}

async fn read(dir: &Path) {
    let store = Store::open(config(dir)).await.expect("opens");
    assert_eq!(store.body(), Some(Body::Threads));
    let schema = store.tables().pop().expect("a table");
    for channel in 0..CHANNELS {
        for (id, content) in history(&store, &schema, channel, 100).await {
            assert_eq!((id % CHANNELS, content.len()), (channel, 300));
            say(&format!("found: {id}"));
        }
    }
    store.close().await.expect("closed");
}

#[test]
#[ignore = "a part of the other tests, which call it"]
fn part() {
    let Ok(part) = std::env::var(PART) else { return };
    let [how, what, dir] = *part.splitn(3, ' ').collect::<Vec<_>>() else {
        panic!("{part} is no part");
    };
    match how {
        "forbidden" => forbid_io_uring(),
        _ => take_locked_memory(),
    }
    runtime::block_on(async {
        match what {
            "write" => write(Path::new(dir)).await,
            _ => read(Path::new(dir)).await,
        }
    });
}

fn start(part: &str) -> Child {
    let program = std::env::current_exe().expect("this program");
    Command::new(program)
        .args(["--ignored", "--exact", "part", "--nocapture"])
        .env(PART, part)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts")
}

/// Writes in a process that is killed, and reads in another one.
fn written_killed_and_read(how: &str, why: &str) {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let dir = root.path().join("store");
    let mut writer = start(&format!("{how} write {}", dir.display()));
    let mut acknowledged = BTreeSet::new();
    let (mut refused, mut chosen) = (String::new(), String::new());
    for line in BufReader::new(writer.stdout.take().expect("piped")).lines() {
        let line = line.expect("text");
        if let Some(id) = line.strip_prefix("acknowledged: ") {
            acknowledged.insert(id.parse::<i64>().expect("an id"));
            // Enough for some flushes; what it says until it is gone counts as well.
            if acknowledged.len() == 5000 {
                writer.kill().expect("it runs");
            }
        } else if let Some(sentence) = line.strip_prefix("refused: ") {
            sentence.clone_into(&mut refused);
        } else if let Some(sentence) = line.strip_prefix("chosen: ") {
            sentence.clone_into(&mut chosen);
        }
    }
    writer.wait().expect("it has ended");
    assert!(acknowledged.len() >= 5000, "it ended by itself: {acknowledged:?}");
    assert!(refused.contains(why) && chosen.contains(why), "{refused:?}, {chosen:?}");
    assert!(chosen.contains("plain threads instead"), "{chosen}");

    let reader = start(&format!("{how} read {}", dir.display()));
    let output = reader.wait_with_output().expect("it has ended");
    let lines = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{lines}");
    let found = lines.lines().filter_map(|line| line.strip_prefix("found: "));
    let found: BTreeSet<i64> = found.map(|id| id.parse().expect("an id")).collect();
    let missing: Vec<_> = acknowledged.difference(&found).collect();
    assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
}

#[test]
fn a_store_works_where_seccomp_forbids_io_uring() {
    written_killed_and_read("forbidden", "forbidden here: by the container's seccomp profile");
}

#[test]
fn a_store_works_with_too_little_locked_memory_for_io_uring() {
    written_killed_and_read("scarce", "locked memory is limited to 64 KiB");
}
