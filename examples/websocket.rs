//! A small chat service: axum in front, the store in the same process, and a websocket that follows a channel.
//!
//! ```text
//! cargo run --release --example websocket -- DIR 127.0.0.1:8080
//! POST /channels/ID/messages  {"author": 7, "content": "hello", "nonce": "optional"}   201 {"id": "…"}
//! GET  /channels/ID/messages?before=ID&limit=50                                        {"messages": […], "next_cursor": "…"}
//! GET  /channels/ID/live?after=ID                                                      a websocket: one JSON object an event
//! ```
//!
//! Without an address it takes a free port of the loopback interface; it prints where it listens, and ends at the end of its input.

use axum::extract::ws::{Message as Frame, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use scrollback::{Config, Error, Event, History, MessageId, Messages};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

#[derive(Deserialize)]
struct New {
    author: i64,
    content: String,
    nonce: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    before: Option<MessageIdText>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct Live {
    after: Option<MessageIdText>,
}

/// Ids travel as decimal strings: a JSON number of JavaScript does not hold them.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct MessageIdText(MessageId);

impl TryFrom<String> for MessageIdText {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse().map(MessageIdText)
    }
}

/// What went wrong, as a status.
struct Failed(Error);

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            Error::NotFound { .. } => StatusCode::NOT_FOUND,
            Error::ContentTooLong { .. } | Error::BadNonce { .. } => StatusCode::BAD_REQUEST,
            Error::Engine(error) if error.kind() == scrollback::wide::ErrorKind::Retry => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({ "error": self.0.to_string() }))).into_response()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap_or_else(|| "chat-data".to_owned());
    let address = args.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let store = Messages::open(Config::new(dir)).await?;
    let routes = Router::new()
        .route("/channels/{channel}/messages", post(send).get(history))
        .route("/channels/{channel}/live", get(live))
        .with_state(store.clone());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let input_ends = async {
        let mut rest = Vec::new();
        let _ = tokio::io::stdin().read_to_end(&mut rest).await;
    };
    tokio::select! {
        served = axum::serve(listener, routes) => served?,
        () = input_ends => {}
    }
    // Sockets that still follow a channel are told that it is over.
    store.close().await?;
    Ok(())
}

async fn send(
    State(store): State<Messages>,
    Path(channel): Path<i64>,
    Json(new): Json<New>,
) -> Result<(StatusCode, Json<Value>), Failed> {
    let id = match new.nonce {
        Some(nonce) => store.send_once(channel, new.author, nonce, new.content).await?,
        None => store.send(channel, new.author, new.content).await?,
    };
    Ok((StatusCode::CREATED, Json(json!({ "id": id.to_string() }))))
}

async fn history(
    State(store): State<Messages>,
    Path(channel): Path<i64>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Failed> {
    let history = History {
        before: page.before.map(|id| id.0),
        ..History::newest(page.limit.unwrap_or(50).min(500))
    };
    let found = store.history(channel, history).await?;
    let mut messages = Vec::with_capacity(found.len());
    for message in found.messages() {
        let message = message?;
        messages.push(json!({ "id": message.id.to_string(), "author": message.author, "content": message.content }));
    }
    let next = found.next()?.and_then(|next| next.before).map(|id| id.to_string());
    Ok(Json(
        json!({ "messages": messages, "has_more": found.has_more(), "next_cursor": next }),
    ))
}

async fn live(
    State(store): State<Messages>,
    Path(channel): Path<i64>,
    Query(live): Query<Live>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.on_upgrade(move |socket| async move {
        // The client has gone, or the store is closed: the socket closes, and the client comes back with its last id.
        let _ = follow(store, channel, live.after.map(|id| id.0), socket).await;
    })
}

async fn follow(
    store: Messages,
    channel: i64,
    after: Option<MessageId>,
    mut socket: WebSocket,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut following = store.subscribe(channel, after).await?;
    socket
        .send(Frame::text(json!({ "event": "following" }).to_string()))
        .await?;
    loop {
        tokio::select! {
            event = following.next() => {
                let Some(event) = event? else { return Ok(()) };
                socket.send(Frame::text(told(&event).to_string())).await?;
            }
            frame = socket.recv() => match frame {
                Some(Ok(Frame::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => {}
            },
        }
    }
}

fn told(event: &Event) -> Value {
    let text = |id: &Option<MessageId>| id.map(|id| id.to_string());
    match event {
        Event::Sent(sent) => json!({
            "event": "sent", "id": sent.id.to_string(), "author": sent.author, "content": *sent.content, "nonce": sent.nonce.as_deref(),
        }),
        Event::Edited { id, content, edited_ms } => {
            json!({ "event": "edited", "id": id.to_string(), "content": **content, "edited_ms": edited_ms })
        }
        Event::Deleted { id } => json!({ "event": "deleted", "id": id.to_string() }),
        Event::DeletedBetween { after, before } => {
            json!({ "event": "deleted_between", "after": text(after), "before": text(before) })
        }
        _ => json!({ "event": "gap" }),
    }
}
