//! Opening and closing the store of a command.

use crate::{cli::Data, failure::Done};
use engine::Config;
use messages::{Messages, Options};
use std::future::Future;

/// Length of a log segment for commands: opening a store makes two of them for each shard, and most commands write little.
const LOG_SEGMENT_BYTES: u32 = 4 << 20;

/// The configuration of a command: of its file, if it has one, less what the command line says.
pub fn config(data: &Data) -> Done<Config> {
    let mut config = match &data.config {
        Some(file) => Config::load(file, data.data.as_deref())?,
        None => Config::new("").log_segment_bytes(LOG_SEGMENT_BYTES),
    };
    if let Some(dir) = &data.data {
        config.dir.clone_from(dir);
    }
    if let Some(shards) = data.shards {
        config.shards = Some(usize::from(shards));
    }
    Ok(config)
}

/// Runs `command` over a store, which must be there, and closes it, whatever comes of it.
pub fn with_store<T, F: Future<Output = Done<T>>>(data: &Data, command: impl FnOnce(Messages) -> F) -> Done<T> {
    let config = config(data)?;
    engine::must_be_store(&config.dir)?;
    with_config(config, Options::default(), command)
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
