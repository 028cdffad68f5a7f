//! The language: text to syntax, syntax and schema to checked statements, values to what they read and write.

pub mod syntax;
