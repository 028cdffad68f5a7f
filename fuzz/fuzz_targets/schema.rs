//! Table definitions, as the manifest has them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::Schema;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(schema) = Schema::decode(bytes) {
        let again = Schema::decode(&schema.encode()).expect("its own bytes");
        assert_eq!(again, schema);
    }
});
