//! Keys of every type: clustering keys, positions, paths of elements, partition keys.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{CqlType, Schema};

/// A clustering column of the first type, one of the second in the other order.
fn schema(types: [&CqlType; 2]) -> Option<Schema> {
    let [first, second] = types.map(|ty| ty.clone().frozen());
    let builder = Schema::builder("k", "t")
        .partition_key("a", CqlType::Int)
        .partition_key("b", CqlType::Text);
    builder.clustering_desc("c", first).clustering("d", second).build().ok()
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = bytes;
    let (Ok(first), Ok(second)) = (CqlType::decode(&mut input), CqlType::decode(&mut input)) else {
        return;
    };
    let _ = first.decode_path(input);
    let Some(schema) = schema([&first, &second]) else {
        return;
    };
    let _ = schema.split_partition_key(input);
    let _ = schema.decode_position(input);
    if let Ok(values) = schema.decode_clustering(input) {
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        assert_eq!(
            schema.encode_clustering(&values).expect("decoded values are legal"),
            input
        );
    }
});
