use scrollback::{Config, History, Messages};

fn main() -> scrollback::Result<()> {
    scrollback::block_on(async {
        let store = Messages::open(Config::new("chat-data")).await?;
        let general = store.channel("general").await?;
        let ada = store.author("ada").await?;

        let id = store.send(general, ada, "hello").await?; // on disk when it returns, and every reader sees it
        store.edit(general, id, Some(ada), "hello, world").await?;

        let mut page = store.history(general, History::newest(50)).await?;
        loop {
            for message in page.messages() {
                let message = message?;
                println!("{} {}: {}", message.id, message.author, message.content);
            }
            let Some(older) = page.next()? else { break };
            page = store.history(general, older).await?;
        }
        store.close().await
    })
}
