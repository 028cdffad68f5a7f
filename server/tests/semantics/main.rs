//! What statements must answer, rule by rule, over the socket and with the Rust driver.
//!
//! The cases are `tests/data/semantics/*.cql`; [`file`] says how they are written. Each file has a keyspace of its own. All of its
//! statements are executed once as `QUERY` and once prepared, in two keyspaces. Then the store is flushed, the server is killed and started
//! again, and what is marked `@again` must still answer the same, from disk.
//!
//! `SCROLLBACK_REWRITE=1` puts what the server answers into the files, for a review of the differences: an answer is right because the
//! rule above it says so, never because the server gives it. `SCROLLBACK_SEMANTICS=12` runs the files whose names have that in them.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "a client and its files, outside every shard")]
#![allow(dead_code, reason = "the helpers of tests are shared")]

#[path = "../common/mod.rs"]
mod common;
mod file;
mod node;
mod run;
mod text;

use file::File;
use node::Node;
use run::{Mode, Runner, Wrong};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Files that are run at once.
const AT_ONCE: usize = 6;

/// So many cases there are at least.
const CASES_MIN: usize = 400;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/semantics")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_answer_what_the_rules_say() {
    let only = std::env::var("SCROLLBACK_SEMANTICS").ok();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(data())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|of| of == "cql"))
        .filter(|path| only.as_ref().is_none_or(|only| path.to_string_lossy().contains(only)))
        .collect();
    paths.sort();
    let files: Vec<Arc<File>> = paths.iter().map(|path| Arc::new(File::read(path))).collect();
    let cases: usize = files.iter().map(|file| file.case_count()).sum();

    let node = Node::start();
    let mut wrong = run_all(&node, &files, false).await;
    if wrong.is_empty() || files.iter().any(|file| file.has_again()) {
        node.flush();
        let node = node.killed_and_started_again();
        wrong.extend(run_all(&node, &files, true).await);
    }
    if std::env::var_os("SCROLLBACK_REWRITE").is_some() {
        for file in &files {
            file.rewrite(wrong.iter().filter(|wrong| wrong.path == file.path));
        }
    }
    println!(
        "{cases} cases in {} files, {} answers are wrong",
        files.len(),
        wrong.len()
    );
    wrong.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    for wrong in &wrong {
        println!("{wrong}");
    }
    assert!(wrong.is_empty(), "{} answers are wrong", wrong.len());
    assert!(only.is_some() || cases >= CASES_MIN, "{cases} cases are too few");
}

/// Runs the files, each once for each mode; what follows a file that waits for its TTLs is run beside it.
async fn run_all(node: &Node, files: &[Arc<File>], again: bool) -> Vec<Wrong> {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = Vec::new();
    for file in files.iter().filter(|file| !again || file.has_again()) {
        for mode in [Mode::Query, Mode::Prepared] {
            let (file, permits, place) = (Arc::clone(file), Arc::clone(&permits), node.place());
            tasks.push(tokio::spawn(async move {
                let _permit = permits.acquire().await.unwrap();
                let mut runner = Runner::connect(place, &file, mode, again).await;
                runner.run(&file).await
            }));
        }
    }
    let mut wrong = Vec::new();
    for task in tasks {
        wrong.extend(task.await.unwrap());
    }
    wrong
}
