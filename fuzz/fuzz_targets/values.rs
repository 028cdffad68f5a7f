//! Values of every type, as clients send them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{CqlType, Value};

fuzz_target!(|bytes: &[u8]| {
    let mut input = bytes;
    let Ok(ty) = CqlType::decode(&mut input) else { return };
    let (one, other) = input.split_at(input.len() / 2);
    let _ = ty.compare(one, other);
    for value in [input, one, other] {
        let _ = ty.canonical(value);
        if let Ok(read) = Value::decode(&ty, value) {
            let written = read.encode(&ty).expect("what was read is legal");
            assert!(ty.validate(&written).is_ok());
        }
        let mut path = Vec::new();
        if ty.encode_path(value, &mut path).is_ok() {
            assert!(ty.decode_path(&path).is_ok(), "its own path");
        }
    }
});
