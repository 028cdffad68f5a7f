//! `serve`: the Cassandra protocol over a store, until a signal ends it.

use crate::cli::Serve;
use crate::failure::{Done, Failure};
use crate::session;
use cql::language::ddl::Topology;
use messages::{Messages, Options};
use runtime::ShardId;
use scrollback_server::protocol::{self, Identity, Limits, Node};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// Runs the server.
pub fn run(args: &Serve) -> Done<()> {
    if !args.listen.ip().is_loopback() {
        return Err(Failure::new(format_args!(
            "{} is not an address of the loopback, and there is no authentication yet: anybody who reaches it could read and delete \
             everything; listen to 127.0.0.1 or [::1]",
            args.listen.ip()
        )));
    }
    let config = session::config(&args.data)?;
    // Before the store is opened: the shards' listeners share their port, so that they would not notice another process.
    let ports = [Some(args.listen), shard_aware(args)];
    for address in ports.into_iter().flatten().filter(|address| address.port() != 0) {
        must_be_free(address)?;
    }
    let mut signals =
        Signals::new([SIGTERM, SIGINT]).map_err(|error| Failure::new(format_args!("signals: {error}")))?;
    runtime::block_on(async {
        let messages = Messages::open_with(config, Options::default()).await?;
        let served = serve(args, &messages, &mut signals).await;
        let closed = messages.close().await;
        served?;
        closed?;
        Ok(())
    })
}

fn shard_aware(args: &Serve) -> Option<SocketAddr> {
    (args.shard_aware_port != 0).then(|| SocketAddr::new(args.listen.ip(), args.shard_aware_port))
}

fn must_be_free(address: SocketAddr) -> Done<()> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(format_args!("{address} cannot be listened to: {error}"))),
    }
}

async fn serve(args: &Serve, messages: &Messages, signals: &mut Signals) -> Done<()> {
    let store = messages.store();
    let replayed = protocol::replay_batches(store).await?;
    if replayed > 0 {
        tracing::info!(replayed, "logged batches that a crash had left were applied");
    }
    let host_id = store.call(ShardId(0), |shard| async move { shard.host_id() }).await?;
    let mut datacenters = vec![args.datacenter.clone()];
    datacenters.extend(args.other_datacenters.iter().cloned());
    let identity = Identity {
        cluster: args.cluster_name.clone(),
        topology: Topology { datacenters },
        rack: args.rack.clone(),
        address: args.listen,
        shard_aware_port: shard_aware(args).map(|address| address.port()),
        host_id: uuid::Uuid::from_bytes(host_id),
        shards: store.shards(),
    };
    let node = Node::new(identity, Some(messages.clone()));
    let limits = Limits {
        frame_bytes: args.frame_bytes_max.as_usize(),
        connections: args.connections_max,
        requests: args.requests_max,
        startup: Duration::from_secs(args.startup_timeout),
        idle: Duration::from_secs(args.idle_timeout),
    };
    protocol::listen(store, &node, limits)
        .await
        .map_err(|what| Failure::new(format_args!("{what}")))?;
    println!("listening on {} with {} shards", args.listen, store.shards());
    let signal = signals.forever().next();
    tracing::info!(
        ?signal,
        "requests that were taken are answered, then the store is closed"
    );
    protocol::drain(store, &node).await?;
    Ok(())
}
