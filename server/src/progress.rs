//! Progress on standard error: a bar on a terminal, nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over bytes read.
pub fn bytes(what: &'static str, len: u64) -> ProgressBar {
    bar(what, len, "{msg:10} {bar:40} {bytes}/{total_bytes} {eta} left")
}

/// A bar over lines.
pub fn lines(what: &'static str, len: u64) -> ProgressBar {
    bar(
        what,
        len,
        "{msg:10} {bar:40} {human_pos}/{human_len} {per_sec} {eta} left",
    )
}

fn bar(what: &'static str, len: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style).with_message(what)
}

/// Rows read, of an amount not known before.
pub fn rows(what: &'static str) -> ProgressBar {
    spinner(what, "{msg:10} {spinner} {human_pos} rows {per_sec}")
}

/// Bytes read, of an amount not known before.
pub fn read(what: &'static str) -> ProgressBar {
    spinner(what, "{msg:10} {spinner} {bytes} {bytes_per_sec}")
}

fn spinner(what: &'static str, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::new_spinner().with_style(style).with_message(what)
}
