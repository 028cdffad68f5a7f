//! A store in a program on tokio: the calls are futures for any runtime, the store's shards are threads of its own.
//!
//! `cargo run --release --example tokio -- DIR`

use scrollback::{Config, Event, Messages, Result};

const TASKS: i64 = 64;
const EACH: usize = 20;

#[tokio::main]
async fn main() -> Result<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "chat-data".to_owned());
    let store = Messages::open(Config::new(dir)).await?;
    let general = store.channel("general").await?;

    // Follows the channel from now on, at its own pace.
    let mut following = store.subscribe(general, None).await?;
    let told = tokio::spawn(async move {
        let mut told = 0;
        while told < TASKS as usize * EACH {
            match following.next().await? {
                Some(Event::Sent(_)) => told += 1,
                Some(_) => {}
                None => break,
            }
        }
        Result::Ok(told)
    });

    let mut tasks = tokio::task::JoinSet::new();
    for author in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            for n in 0..EACH {
                // Asked again with its nonce, after a timeout or a restart, it is still sent once.
                let nonce = format!("{author}-{n}");
                store
                    .send_once(general, author, nonce, format!("{n} of task {author}"))
                    .await?;
            }
            Result::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("the task does not panic")?;
    }
    println!("{} messages told", told.await.expect("the task does not panic")?);
    store.close().await
}
