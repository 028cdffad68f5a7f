//! Scrollback, embedded: the facade that programs add with `cargo add scrollback`.
