//! The examples run, and do what they say.

use futures_util::StreamExt;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

/// The program of an example: cargo builds it with this test, one folder above it.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("this test's own path");
    let profile: PathBuf = test.ancestors().nth(2).expect("a folder of the profile").to_owned();
    Command::new(profile.join("examples").join(name))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

/// What the example prints, given a store's directory.
fn printed(name: &str) -> String {
    let folder = folder();
    let output = example(name)
        .arg(folder.path().join("chat"))
        .output()
        .expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn threads_share_a_store() {
    assert_eq!(printed("threads"), "1000 messages in the channel\n");
}

#[test]
fn tasks_of_tokio_share_a_store() {
    assert_eq!(printed("tokio"), "1280 messages told\n");
}

#[test]
fn a_bot_deletes_a_hundred_thousand_messages() {
    let printed = printed("bot");
    assert!(printed.starts_with("100000 messages deleted in "), "{printed}");
    assert!(printed.contains("\n1 messages left, found in "), "{printed}");
}

/// The service, stopped when its input ends or this is dropped.
struct Service {
    process: Child,
    address: String,
}

impl Service {
    fn start(dir: &std::path::Path) -> Service {
        let mut process = example("websocket")
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let output = process.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("its first line");
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .expect("an address")
            .to_owned();
        Service { process, address }
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        self.request(format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.request(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
            .await
    }

    async fn request(&self, request: String) -> (u16, Value) {
        let mut stream = tokio::net::TcpStream::connect(&self.address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_websocket_follows_a_channel() {
    let folder = folder();
    let dir = folder.path().join("chat");
    let mut service = Service::start(&dir);
    let new = |content: &str| json!({ "author": 7, "content": content });
    let (status, first) = service.post("/channels/5/messages", &new("first")).await;
    assert_eq!(status, 201);

    let follow = |after: Option<String>| {
        let after = after.map_or_else(String::new, |id| format!("?after={id}"));
        let url = format!("ws://{}/channels/5/live{after}", service.address);
        async move { tokio_tungstenite::connect_async(url).await.expect("a websocket").0 }
    };
    let mut socket = follow(None).await;
    let told = async |socket: &mut tokio_tungstenite::WebSocketStream<_>| -> Option<Value> {
        match socket.next().await?.ok()? {
            Message::Text(text) => serde_json::from_str(&text).ok(),
            _ => None,
        }
    };
    assert_eq!(told(&mut socket).await.expect("a word")["event"], "following");
    let mut ids = vec![first["id"].as_str().expect("an id").to_owned()];
    for n in 0..20 {
        let (status, sent) = service.post("/channels/5/messages", &new(&n.to_string())).await;
        assert_eq!(status, 201, "{sent}");
        ids.push(sent["id"].as_str().expect("an id").to_owned());
    }
    for (n, id) in ids[1..].iter().enumerate() {
        let event = told(&mut socket).await.expect("an event");
        assert_eq!((&event["event"], &event["id"]), (&json!("sent"), &json!(id)));
        assert_eq!(event["content"], n.to_string());
    }

    // Once, whoever asks again; and what came before an id, page by page.
    let once = json!({ "author": 7, "content": "once", "nonce": "n" });
    let (sent, again) = (
        service.post("/channels/5/messages", &once).await,
        service.post("/channels/5/messages", &once).await,
    );
    assert_eq!((sent.0, &sent.1), (201, &again.1));
    let (status, page) = service
        .get(&format!("/channels/5/messages?limit=15&before={}", ids[20]))
        .await;
    assert_eq!(
        (status, page["messages"].as_array().map(Vec::len), &page["has_more"]),
        (200, Some(15), &json!(true))
    );
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let (_, rest) = service.get(&format!("/channels/5/messages?before={cursor}")).await;
    assert_eq!(rest["messages"].as_array().map(Vec::len), Some(5));
    assert_eq!(service.get("/channels/5/messages?before=x").await.0, 400);

    // Who comes back with an id is told what it has missed.
    let mut resumed = follow(Some(ids[10].clone())).await;
    assert_eq!(told(&mut resumed).await.expect("a word")["event"], "following");
    for id in &ids[11..] {
        assert_eq!(told(&mut resumed).await.expect("an event")["id"], json!(id));
    }

    // The service closes the store, and the sockets with it; nothing is lost.
    drop(service.process.stdin.take());
    while told(&mut socket).await.is_some() {}
    assert!(service.process.wait().expect("it ends").success());
    let service = Service::start(&dir);
    let (_, page) = service.get("/channels/5/messages?limit=500").await;
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(22));
}
