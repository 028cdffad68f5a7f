//! Listeners: one on each shard, and the port whose connections are placed by the client's port.

use super::connection::{self, Limits};
use super::local::Local;
use super::node::Node;
use engine::{Shard, Store};
use futures_util::future::BoxFuture;
use runtime::net::{Accepted, Listener};
use runtime::{ShardId, TaskClass};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// After an error of `accept`: descriptors may be short.
const BACK_OFF: Duration = Duration::from_millis(20);
/// Deadlines are looked at so often.
const LOOK: Duration = Duration::from_secs(1);

/// How connections of a listener are placed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Placing {
    /// Where there are fewest.
    Fewest,
    /// On the shard that the client's port says.
    ByPort,
}

/// Listens on all shards of a store.
///
/// # Errors
/// The address is in use or not to be had, in one sentence; the store is closed.
pub fn listen<'a>(store: &'a Store, node: &'a Arc<Node>, limits: Limits) -> BoxFuture<'a, Result<(), String>> {
    Box::pin(async move {
        for shard in 0..store.shards() {
            let of_shard = Arc::clone(node);
            let begun = store.call(ShardId(shard), move |shard| async move {
                let local = Local::of(&shard, &of_shard);
                begin(&local, limits).map_err(|error| error.to_string())
            });
            begun.await.map_err(|error| error.to_string())??;
        }
        Ok(())
    })
}

fn begin(local: &Rc<Local>, limits: Limits) -> Result<(), runtime::Error> {
    let identity = &local.node.identity;
    accept_from(local, identity.address, Placing::Fewest, limits)?;
    if let Some(port) = identity.shard_aware_port {
        accept_from(
            local,
            SocketAddr::new(identity.address.ip(), port),
            Placing::ByPort,
            limits,
        )?;
    }
    let looks = Rc::downgrade(local);
    let look = async move {
        while let Some(local) = looks.upgrade().filter(|local| !local.closing.get()) {
            local.connections.look_at_deadlines();
            drop(local);
            runtime::time::sleep(LOOK).await;
        }
    };
    local
        .tasks
        .borrow_mut()
        .push(runtime::spawn(TaskClass::Maintenance, "deadlines of connections", look));
    Ok(())
}

fn accept_from(local: &Rc<Local>, address: SocketAddr, placing: Placing, limits: Limits) -> Result<(), runtime::Error> {
    let listener = Listener::bind(address)?;
    local.listeners.borrow_mut().push(listener.clone());
    let local_here = Rc::clone(local);
    let task = runtime::spawn(TaskClass::Request, "accept connections", async move {
        loop {
            match listener.accept().await {
                Ok(Some(accepted)) => place(&local_here, accepted, placing, limits).await,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    runtime::time::sleep(BACK_OFF).await;
                }
            }
        }
    });
    local.tasks.borrow_mut().push(task);
    Ok(())
}

/// Gives a connection to the shard that serves it.
async fn place(local: &Rc<Local>, accepted: Accepted, placing: Placing, limits: Limits) {
    let here = local.shard.id();
    let counts = &local.node.connections;
    let to = match placing {
        Placing::ByPort => ShardId(accepted.peer_addr().port() % local.node.identity.shards),
        Placing::Fewest => {
            let count = |shard: usize| counts[shard].load(Ordering::Relaxed);
            let fewest = (0..counts.len()).min_by_key(|shard| count(*shard)).unwrap_or(0);
            // It stays where it came unless that makes a difference.
            match count(usize::from(here.0)) > count(fewest) {
                true => ShardId(u16::try_from(fewest).expect("at most 64 shards")),
                false => here,
            }
        }
    };
    counts[usize::from(to.0)].fetch_add(1, Ordering::Relaxed);
    if to == here {
        return start(Rc::clone(local), accepted, limits);
    }
    let node = Arc::clone(&local.node);
    let moved = Shard::call(to, move |shard| async move {
        start(Local::of(&shard, &node), accepted, limits)
    });
    if moved.await.is_err() {
        counts[usize::from(to.0)].fetch_sub(1, Ordering::Relaxed);
    }
}

fn start(local: Rc<Local>, accepted: Accepted, limits: Limits) {
    let serve = async move {
        let node = Arc::clone(&local.node);
        let here = usize::from(local.shard.id().0);
        connection::serve(local, accepted, limits).await;
        node.connections[here].fetch_sub(1, Ordering::Relaxed);
    };
    drop(runtime::spawn(TaskClass::Request, "a connection", serve));
}

/// Takes no more connections and requests, and waits until what was begun is answered.
///
/// # Errors
/// The store is closed, or a shard has ended.
pub fn drain<'a>(store: &'a Store, node: &'a Arc<Node>) -> BoxFuture<'a, engine::Result<()>> {
    Box::pin(async move {
        let mut calls = Vec::new();
        for shard in 0..store.shards() {
            let node = Arc::clone(node);
            calls.push(store.call(ShardId(shard), move |shard| async move {
                let local = Local::of(&shard, &node);
                local.closing.set(true);
                for listener in local.listeners.take() {
                    listener.close();
                }
                local.connections.drain().await;
                for task in local.tasks.take() {
                    task.await;
                }
            }));
        }
        for call in calls {
            call.await?;
        }
        Ok(())
    })
}
