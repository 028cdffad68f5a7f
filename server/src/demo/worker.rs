//! The process that is killed: clients on a store, and a line on standard output for each acknowledgement (`load` says
//! which).

use crate::{
    cli,
    failure::{Done, Failure},
    in_flight::join_all,
    session,
};
use messages::{History, MessageId, Messages, NameKind, Options};
use scrollback_server::load::{Client, Op, Told, author_name, channel_name};
use std::io::Write;

/// Runs until it is killed.
pub fn run(args: cli::DemoWorker) -> Done {
    let config = session::config(&args.data)?.memtable_bytes(args.memtable_bytes.as_usize());
    session::with_config(config, Options::default(), async |messages| {
        let channels = (0..args.channels).map(|channel| messages.intern(NameKind::Channel, channel_name(channel)));
        let channels = join_all(channels).await?;
        let authors = (0..args.clients).map(|client| messages.intern(NameKind::Author, author_name(client)));
        let authors = join_all(authors).await?;
        tell(Told::Ready)?;
        let clients = (0..args.clients).zip(&authors).map(|(number, author)| {
            let client = Client::new(args.seed, args.start, number, args.channels);
            serve(&messages, client, number, *author, &channels)
        });
        join_all(clients).await?;
        Ok(())
    })
}

/// One client, for ever. Each acknowledgement is in the pipe before the next operation begins.
async fn serve(messages: &Messages, mut client: Client, number: u32, author: i64, channels: &[i64]) -> Done {
    loop {
        let op = client.next();
        let id = match op {
            Op::Send { channel, content } => Some(
                messages
                    .send(channels[channel as usize], author, client.content(content))
                    .await?,
            ),
            Op::Edit { channel, id, content } => {
                messages
                    .edit(channels[channel as usize], id, Some(author), client.content(content))
                    .await?;
                None
            }
            Op::Delete { channel, id } => {
                messages.delete(channels[channel as usize], id, Some(author)).await?;
                None
            }
            Op::Scroll {
                channel,
                oldest_first,
                limit,
            } => {
                let history = History {
                    oldest_first,
                    ..History::newest(limit as usize)
                };
                scroll(messages, channels[channel as usize], history).await?;
                None
            }
        };
        tell(Told::done(number, op, id))?;
        client.done(op, id);
    }
}

/// Reads a page and looks whether it is in order.
async fn scroll(messages: &Messages, channel: i64, history: History) -> Done {
    let page = messages.history(channel, history).await?;
    let mut last: Option<MessageId> = None;
    for message in page.messages() {
        let id = message?.id;
        if last.is_some_and(|last| if history.oldest_first { last >= id } else { last <= id }) {
            return Err(Failure::new(format_args!("a page has message {id} out of order")));
        }
        last = Some(id);
    }
    Ok(())
}

/// One line, at once: what is in the pipe outlives the process.
fn tell(told: Told) -> Done {
    let text = format!("{told}\n");
    let mut output = std::io::stdout().lock();
    output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .map_err(|_| Failure::told())
}
