//! The `squeeze` command line.
fn main() {}
