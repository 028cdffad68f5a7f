//! `scrollback send`, `edit` and `delete`

use super::history::find;
use crate::{
    cli,
    failure::{Done, Failure},
    output::{Format, Output},
    session,
};
use messages::{MessageId, Messages, NameKind};
use serde::Serialize;

#[derive(Serialize)]
struct Id {
    id: String,
}

/// Sends a message and prints its id: bare, unless JSON is asked for.
pub fn send(args: cli::Send, format: Option<Format>) -> Done {
    session::with_store(&args.data, async |messages| {
        let channel = messages.intern(NameKind::Channel, args.channel).await?;
        let author = messages.intern(NameKind::Author, args.author).await?;
        let id = match args.nonce {
            Some(nonce) => messages.send_once(channel, author, nonce, args.content).await?,
            None => messages.send(channel, author, args.content).await?,
        };
        let mut output = Output::new();
        match format {
            Some(Format::Jsonl) => output.object(&Id { id: id.to_string() })?,
            _ => output.line(id)?,
        }
        output.flush()
    })
}

/// Edits a message.
pub fn edit(args: cli::Edit, format: Format) -> Done {
    session::with_store(&args.data, async |messages| {
        let channel = find(&messages, &args.channel).await?;
        let author = find_author(&messages, args.id, args.author).await?;
        messages.edit(channel, args.id, author, args.content).await?;
        tell(args.id, "edited", format)
    })
}

/// Deletes a message, or many.
pub fn delete(args: cli::Delete, format: Format) -> Done {
    session::with_store(&args.data, async |messages| {
        let channel = find(&messages, &args.channel).await?;
        let Some(id) = args.id else {
            match args.bucket {
                Some(of) => messages.delete_bucket(channel, of).await?,
                None => messages.delete_channel(channel).await?,
            }
            return tell_all(&args.channel, args.bucket, format);
        };
        let author = find_author(&messages, id, args.author).await?;
        messages.delete(channel, id, author).await?;
        tell(id, "deleted", format)
    })
}

#[derive(Serialize)]
struct Channel<'a> {
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket_of: Option<String>,
}

fn tell_all(channel: &str, bucket_of: Option<MessageId>, format: Format) -> Done {
    let mut output = Output::new();
    let bucket_of = bucket_of.map(|id| id.to_string());
    match (format, &bucket_of) {
        (Format::Jsonl, _) => output.object(&Channel { channel, bucket_of })?,
        (Format::Table, Some(id)) => output.line(format_args!("deleted the bucket of {id} in {channel}"))?,
        (Format::Table, None) => output.line(format_args!("deleted all messages of {channel}"))?,
    }
    output.flush()
}

/// The author who must have written the message. One that the store does not know has written none.
async fn find_author(messages: &Messages, id: MessageId, author: Option<String>) -> Done<Option<i64>> {
    let Some(author) = author else { return Ok(None) };
    match messages.find(NameKind::Author, author).await? {
        Some(author) => Ok(Some(author)),
        None => Err(Failure::from(messages::Error::OtherAuthor { id })),
    }
}

fn tell(id: MessageId, what: &str, format: Format) -> Done {
    let mut output = Output::new();
    match format {
        Format::Jsonl => output.object(&Id { id: id.to_string() })?,
        Format::Table => output.line(format_args!("{what} {id}"))?,
    }
    output.flush()
}
