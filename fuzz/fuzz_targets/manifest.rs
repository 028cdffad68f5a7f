//! Manifests: records (compiled without their checksums), and the edits in them.
#![no_main]

use engine::manifest::format::inspect;
use engine::manifest::state::State;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut state = State::default();
    let _ = inspect(bytes, |record| state.apply_payload(record.payload));
    let mut state = State::default();
    // A state begins with its identity.
    if state.apply_payload(bytes).is_ok() && state.shards > 0 {
        let edits = engine::manifest::state::encode_edits(&state.edits());
        let mut again = State::default();
        again.apply_payload(&edits).expect("what a state says is a state");
        assert_eq!(engine::manifest::state::encode_edits(&again.edits()), edits);
    }
});
