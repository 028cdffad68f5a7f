//! A store in a program without any async runtime: plain threads, each waiting for its own calls.
//!
//! `cargo run --release --example threads -- DIR`

use scrollback::{Config, History, Messages, Result, block_on};

const THREADS: i64 = 4;
const EACH: usize = 250;

#[expect(clippy::disallowed_methods, reason = "a program that has threads of its own")]
fn main() -> Result<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "chat-data".to_owned());
    let store = block_on(Messages::open(Config::new(dir)))?;
    let general = block_on(store.channel("general"))?;

    let threads = (0..THREADS).map(|author| {
        let store = store.clone();
        std::thread::spawn(move || -> Result<()> {
            for n in 0..EACH {
                // On disk when it returns; the other threads' sends share its write.
                block_on(store.send(general, author, format!("{n} of thread {author}")))?;
            }
            Ok(())
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().expect("the thread does not panic")?;
    }

    let mut messages = 0;
    let mut next = Some(History::newest(100));
    while let Some(history) = next {
        let page = block_on(store.history(general, history))?;
        messages += page.len();
        next = page.next()?;
    }
    println!("{messages} messages in the channel");
    block_on(store.close())
}
