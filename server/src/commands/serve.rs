//! `serve`: the Cassandra protocol over a store, until a signal ends it.

use crate::cli::{Data, Serve, ServeSettings};
use crate::failure::{Done, Failure};
use crate::session;
use cql::language::ddl::Topology;
use engine::Config;
use messages::{Messages, Options};
use runtime::ShardId;
use scrollback_server::protocol::{self, Identity, Limits, Node};
use serde::Deserialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

const PORT: u16 = 9042;
const SHARD_AWARE_PORT: u16 = 19042;

/// Runs the server.
pub fn run(args: Serve) -> Done<()> {
    let Serve { data, settings } = args;
    let settings = settings.or(of_file(&data)?);
    let listen = settings.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, PORT).into());
    if !listen.ip().is_loopback() {
        return Err(Failure::new(format_args!(
            "{} is not an address of the loopback, and there is no authentication yet: anybody who reaches it could read and delete \
             everything; listen to 127.0.0.1 or [::1]",
            listen.ip()
        )));
    }
    let shard_aware = match settings.shard_aware_port.unwrap_or(SHARD_AWARE_PORT) {
        0 => None,
        port => Some(SocketAddr::new(listen.ip(), port)),
    };
    if listen.port() == 0 || shard_aware.is_some_and(|shard_aware| shard_aware.port() == listen.port()) {
        return Err(Failure::new(format_args!(
            "the server needs a port of its own (--listen), and another one for shard-aware drivers (--shard-aware-port, 0 for none)"
        )));
    }
    let mut config = session::config(&data)?;
    if data.config.is_none() {
        // Other commands write little and have short ones.
        config.log_segment_bytes = Config::new("").log_segment_bytes;
    }
    // Before the store is opened: the shards' listeners share their port, so that they would not notice another process.
    for address in [Some(listen), shard_aware].into_iter().flatten() {
        must_be_free(address)?;
    }
    let signals = Signals::new([SIGTERM, SIGINT]);
    let mut signals = signals.map_err(|error| Failure::new(format_args!("signals cannot be waited for: {error}")))?;
    runtime::block_on(async {
        let messages = Messages::open_with(config, Options::default()).await?;
        let served = serve(&settings, (listen, shard_aware), &messages, &mut signals).await;
        let closed = messages.close().await;
        served?;
        closed?;
        Ok(())
    })
}

/// What the table `[server]` of the configuration file says.
fn of_file(data: &Data) -> Done<ServeSettings> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        server: ServeSettings,
    }
    let Some(path) = &data.config else {
        return Ok(ServeSettings::default());
    };
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, "cannot be read", error))?;
    let file: Result<File, _> = toml::from_str(&text);
    file.map(|file| file.server)
        .map_err(|error| Failure::new(format_args!("{}: {error}", path.display())))
}

fn must_be_free(address: SocketAddr) -> Done<()> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(format_args!(
            "{address} cannot be listened to: {error}; end who listens there, or choose another with --listen or --shard-aware-port"
        ))),
    }
}

async fn serve(
    settings: &ServeSettings,
    (listen, shard_aware): (SocketAddr, Option<SocketAddr>),
    messages: &Messages,
    signals: &mut Signals,
) -> Done<()> {
    let store = messages.store();
    let replayed = protocol::replay_batches(store).await?;
    if replayed > 0 {
        tracing::info!(replayed, "logged batches that a crash had left were applied");
    }
    let host_id = store.call(ShardId(0), |shard| async move { shard.host_id() }).await?;
    let or = |said: &Option<String>, default: &str| said.clone().unwrap_or_else(|| default.to_owned());
    let mut datacenters = vec![or(&settings.datacenter, "datacenter1")];
    datacenters.extend(settings.other_datacenters.iter().flatten().cloned());
    let cluster = or(&settings.cluster_name, "Scrollback");
    let identity = Identity {
        cluster: cluster.clone(),
        topology: Topology { datacenters },
        rack: or(&settings.rack, "rack1"),
        address: listen,
        shard_aware_port: shard_aware.map(|address| address.port()),
        host_id: uuid::Uuid::from_bytes(host_id),
        shards: store.shards(),
    };
    let texts = protocol::Texts::load(store).await?;
    let read_timeout = settings.read_timeout.map_or(Node::READ_TIMEOUT, Duration::from_millis);
    let node = Node::new(identity, Some(messages.clone()), texts, read_timeout);
    let default = Limits::default();
    let seconds = |said: Option<u64>, default: Duration| said.map_or(default, Duration::from_secs);
    let limits = Limits {
        frame_bytes: settings
            .frame_bytes_max
            .map_or(default.frame_bytes, |size| size.as_usize()),
        connections: settings.connections_max.unwrap_or(default.connections),
        requests: settings.requests_max.unwrap_or(default.requests).max(1),
        startup: seconds(settings.startup_timeout, default.startup),
        idle: seconds(settings.idle_timeout, default.idle),
    };
    let listening = protocol::listen(store, &node, limits).await;
    listening.map_err(|what| Failure::new(format_args!("{what}")))?;
    store.announce("listen", listen.to_string());
    if let Some(address) = shard_aware {
        store.announce("shard_aware_listen", address.to_string());
    }
    store.announce("cluster", cluster);
    store.announce("host_id", uuid::Uuid::from_bytes(host_id).to_string());
    println!("listening on {listen} with {} shards", store.shards());
    let signal = signals.forever().next();
    tracing::info!(
        ?signal,
        "requests that were taken are answered, then the store is closed"
    );
    protocol::drain(store, &node).await?;
    Ok(())
}
