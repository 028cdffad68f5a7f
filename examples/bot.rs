//! A bot that fills a channel and deletes a hundred thousand messages again, one id at a time for the store, and what that leaves for
//! the next reader: nothing.
//!
//! `cargo run --release --example bot -- DIR`

use scrollback::{Config, History, MessageId, Messages, Result, block_on};
use std::time::Instant;

const MESSAGES: usize = 100_000;
const AT_ONCE: usize = 1000;

#[expect(clippy::disallowed_methods, reason = "a program that tells how long it took")]
fn main() -> Result<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "chat-data".to_owned());
    block_on(async {
        let store = Messages::open(Config::new(dir)).await?;
        let spammed = store.channel("spammed").await?;
        let kept = store.send(spammed, 1, "what people had said").await?;
        let mut ids: Vec<MessageId> = Vec::with_capacity(MESSAGES);
        while ids.len() < MESSAGES {
            let spam = (0..AT_ONCE).map(|n| (2, format!("spam {n}"))).collect();
            ids.extend(store.send_many(spammed, spam).await?);
        }
        let began = Instant::now();
        let mut deleted = 0;
        for ids in ids.chunks(AT_ONCE) {
            deleted += store.delete_many(spammed, ids.to_vec(), Some(2)).await?;
        }
        println!("{deleted} messages deleted in {:.2} s", began.elapsed().as_secs_f64());

        // A page behind very many deleted messages may be short, and says where to go on.
        let began = Instant::now();
        let mut next = Some(History::newest(50));
        let mut found = Vec::new();
        while let Some(history) = next {
            let page = store.history(spammed, history).await?;
            found.extend(page.messages().map(|message| message.map(|message| message.id)));
            next = page.next()?;
        }
        let found = found.into_iter().collect::<Result<Vec<_>>>()?;
        println!(
            "{} messages left, found in {:.2} ms",
            found.len(),
            began.elapsed().as_secs_f64() * 1e3
        );
        assert!(found.contains(&kept), "nothing else was deleted");
        store.close().await
    })
}
