//! Opening and closing the store of a command.

use crate::{cli::Data, failure::Done};
use engine::Config;
use messages::{Messages, Options};
use std::future::Future;

/// Length of a log segment for commands: opening a store makes two of them for each shard, and most commands write little.
const LOG_SEGMENT_BYTES: u32 = 4 << 20;

/// The configuration of a command.
pub fn config(data: &Data) -> Config {
    Config {
        shards: data.shards.map(usize::from),
        log_segment_bytes: LOG_SEGMENT_BYTES,
        ..Config::new(&data.place.data)
    }
}

/// Runs `command` over a store, which must be there, and closes it, whatever comes of it.
pub fn with_store<T, F: Future<Output = Done<T>>>(data: &Data, command: impl FnOnce(Messages) -> F) -> Done<T> {
    engine::must_be_store(&data.place.data)?;
    with_config(config(data), Options::default(), command)
}

/// Runs `command` over the store of this configuration, which is created if it is not there, and closes the store.
pub fn with_config<T, F: Future<Output = Done<T>>>(
    config: Config,
    options: Options,
    command: impl FnOnce(Messages) -> F,
) -> Done<T> {
    runtime::block_on(async {
        let messages = Messages::open_with(config, options).await?;
        let done = command(messages.clone()).await;
        let closed = messages.close().await;
        let done = done?;
        closed?;
        Ok(done)
    })
}
