//! Tests of the order-preserving encoding.
