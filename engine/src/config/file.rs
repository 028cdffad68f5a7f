//! Configuration files: TOML, with the settings of [`Config`] under their names (`docs/config.toml` has all of them).

use super::{Config, NAMES, set};
use crate::error::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// No configuration file is longer, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// A table of whoever serves the store, which has settings of its own.
const SERVER: &str = "server";
/// The setting that is no field with a default.
const DIR: &str = "dir";

impl Config {
    /// Reads a configuration: TOML with the fields of this type under their names, `dir` at least. Sizes are numbers of bytes or
    /// texts as `"64MiB"`, times are texts as `"10s"`. The other settings have their defaults. A table `[server]` is passed over: it is
    /// for whoever serves the store.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the line and what is wrong there: a field that does not exist, with the name that is nearest to it;
    /// a value of another kind; one that is out of its bounds.
    pub fn from_toml(text: &str) -> Result<Config> {
        parse(text, None).map_err(Error::invalid)
    }

    /// Reads a configuration file; without a `dir` of its own it is for the store in `dir`. Relative names are relative to the working
    /// directory.
    ///
    /// # Errors
    /// As [`from_toml`](Self::from_toml), with the file's name; [`Error::Io`].
    #[expect(clippy::disallowed_methods, reason = "it is read before there are shards")]
    pub fn load(path: &Path, dir: Option<&Path>) -> Result<Config> {
        let io = |source| Error::Io {
            op: "read of the configuration",
            path: path.to_owned(),
            offset: 0,
            source: Arc::new(source),
        };
        let mut text = String::new();
        let file = File::open(path).map_err(io)?;
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(io)?;
        let in_file = |what: String| Error::invalid(format!("{}: {what}", path.display()));
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(in_file(format!(
                "longer than {FILE_BYTES_MAX} bytes; this is no configuration"
            )));
        }
        parse(&text, dir).map_err(in_file)
    }
}

fn parse(text: &str, dir: Option<&Path>) -> std::result::Result<Config, String> {
    let line_of = |at: usize| {
        text.as_bytes()[..at.min(text.len())]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1
    };
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(span.start));
        format!("line {line}: {}", error.message())
    })?;
    let mut config = Config::new(dir.unwrap_or(Path::new("")));
    for (name, said) in table.get_ref() {
        let (line, name) = (line_of(name.span().start), name.get_ref().as_ref());
        if name == SERVER && matches!(said.get_ref(), DeValue::Table(_)) {
            continue;
        }
        let read = match said.get_ref().as_str() {
            Some(path) if name == DIR => {
                config.dir = path.into();
                Some(Ok(()))
            }
            None if name == DIR => Some(Err("it is a text, the store's directory".to_owned())),
            _ => set(&mut config, name, said.get_ref()),
        };
        match read {
            Some(read) => read.map_err(|what| format!("line {line}: {name}: {what}"))?,
            None => return Err(format!("line {line}: there is no setting {name:?}; {}", nearest(name))),
        }
    }
    if config.dir.as_os_str().is_empty() {
        return Err("dir, the store's directory, is missing".to_owned());
    }
    config.validate()?;
    Ok(config)
}

/// What may have been meant.
fn nearest(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let all = || NAMES.iter().copied().chain([DIR]);
    let likeness = |other: &str| strsim::jaro_winkler(&name, other);
    match all().max_by(|a, b| likeness(a).total_cmp(&likeness(b))) {
        Some(other) if name.len() <= 64 && likeness(other) > 0.8 => format!("did you mean {other:?}?"),
        _ => format!("there are {}", all().collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DOCS, SyncMode, said};
    use super::*;
    use crate::config::Body;
    use std::fmt::Write;
    use std::time::Duration;

    /// A sentence of the documentation, without its links.
    fn plain(doc: &str) -> String {
        let mut plain = String::new();
        let mut rest = doc.trim();
        while let Some((before, link)) = rest.split_once("[`") {
            let (name, target) = link.split_once("`]").expect("a link ends");
            plain.push_str(before);
            plain.push_str(name);
            rest = target.split_once(')').expect("its target ends").1;
        }
        plain + rest
    }

    /// The documented file, made from what the code says.
    fn documented() -> String {
        let mut file = "# Configuration of a store: `scrollback --config FILE`, `Config::load`. Every setting, with its default where that is a value.\n\
                        # Sizes are bytes, as numbers or as \"64MiB\".\n\n\
                        # The store's directory; created if it does not exist. `--data` wins over it.\n\
                        # dir = \"/var/lib/scrollback\"\n"
            .to_owned();
        let defaults = said(&Config::new("/store"));
        for ((name, docs), default) in NAMES.iter().zip(DOCS).zip(defaults) {
            file.push('\n');
            for doc in *docs {
                writeln!(file, "# {}", plain(doc)).expect("a text grows");
            }
            match default {
                Some(default) => writeln!(file, "{name} = {default}"),
                None => writeln!(file, "# {name} ="),
            }
            .expect("a text grows");
        }
        file
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test, off the shards")]
    fn the_documented_file_has_every_setting_and_its_default() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.toml");
        let documented = documented();
        if std::env::var_os("SCROLLBACK_WRITE_DOCS").is_some() {
            std::fs::write(&path, &documented).expect("written");
        }
        let found = std::fs::read_to_string(&path).expect("docs/config.toml");
        assert_eq!(
            found, documented,
            "write it again: SCROLLBACK_WRITE_DOCS=1 cargo test -p scrollback-engine --lib"
        );
        assert_eq!(
            Config::load(&path, Some(Path::new("/store"))).expect("read"),
            Config::new("/store")
        );
    }

    #[test]
    fn what_a_file_says_is_what_code_says() {
        let text = "dir = '/store'\nshards = 3\npin = false\nbody = 'threads'\nmemtable_bytes = 1048576\nsync = 'periodic 20ms'\n\
                    log_segment_bytes = '64KiB'\nfree_bytes_min = 0\nadmission_timeout = '2min'\n";
        let config = Config::new("/store")
            .shards(Some(3))
            .pin(false)
            .body(Some(Body::Threads))
            .memtable_bytes(1 << 20)
            .sync(SyncMode::Periodic {
                period: Duration::from_millis(20),
            })
            .log_segment_bytes(64 << 10)
            .free_bytes_min(Some(0))
            .admission_timeout(Duration::from_secs(120));
        assert_eq!(Config::from_toml(text).expect("read"), config);
        let written: Vec<_> = NAMES
            .iter()
            .zip(said(&config))
            .filter_map(|(name, said)| Some(format!("{name} = {}", said?)))
            .collect();
        let again = format!("dir = '/store'\n{}", written.join("\n"));
        assert_eq!(Config::from_toml(&again).expect("read"), config);
    }

    #[test]
    fn what_is_said_to_a_server_is_passed_over() {
        let config = Config::from_toml("dir = 'x'\n[server]\nlisten = '127.0.0.1:9042'").expect("read");
        assert_eq!(config, Config::new("x"));
        let told = Config::from_toml("dir = 'x'\nserver = 1")
            .expect_err("no table")
            .to_string();
        assert!(told.contains("line 2: there is no setting \"server\""), "{told}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, says) in [
            ("", "dir, the store's directory, is missing"),
            ("dir = 1", "line 1: dir: it is a text"),
            (
                "dir = '/s'\n\nmemtable_byte = 1",
                "line 3: there is no setting \"memtable_byte\"; did you mean \"memtable_bytes\"?",
            ),
            (
                "dir = '/s'\nSHARD = 1",
                "line 2: there is no setting \"SHARD\"; did you mean \"shards\"?",
            ),
            (
                "dir = '/s'\nzookeeper = 'a'",
                "there is no setting \"zookeeper\"; there are shards, pin, body, memtable_bytes,",
            ),
            (
                "dir = '/s'\nshards = 0",
                "the number of shards is 0; it must lie between 1 and 64",
            ),
            (
                "dir = '/s'\nshards = 1000",
                "the number of shards is 1000; it must lie between 1 and 64",
            ),
            ("dir = '/s'\nshards = -1", "line 2: shards: it is a whole number"),
            ("dir = '/s'\nshards = 1.5", "line 2: shards: it is a whole number"),
            ("dir = '/s'\npin = 'yes'", "line 2: pin: it is true or false"),
            (
                "dir = '/s'\nbody = 'epoll'",
                "line 2: body: it is \"uring\" or \"threads\"",
            ),
            (
                "dir = '/s'\nmemtable_bytes = '64MB'",
                "line 2: memtable_bytes: it is a whole number, or a size as \"64MiB\"",
            ),
            (
                "dir = '/s'\nmemtable_bytes = 1",
                "memtable_bytes is 1; it must lie between 65536 and",
            ),
            (
                "dir = '/s'\nlog_segment_bytes = '8GiB'",
                "line 2: log_segment_bytes: it is 8589934592, and at most 4294967295",
            ),
            (
                "dir = '/s'\nsync = 'periodic'",
                "line 2: sync: it is \"group\", or \"periodic\" and a time",
            ),
            ("dir = '/s'\nsync = 'periodic 0.5s'", "line 2: sync: it is \"group\""),
            (
                "dir = '/s'\nadmission_timeout = 10",
                "line 2: admission_timeout: it is a time",
            ),
            (
                "dir = '/s'\nadmission_timeout = '99999999999999999999s'",
                "line 2: admission_timeout: it is a time",
            ),
            (
                "dir = '/s'\n[store]\nshards = 1",
                "line 2: there is no setting \"store\"",
            ),
            ("dir = '/s'\nshards = 1\nshards = 2", "line 3: "),
            ("dir = '/s'\nshards = ", "line 2: "),
            ("dir = '/s\n", "line 1: "),
        ] {
            let error = Config::from_toml(text).expect_err(text).to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }
}
