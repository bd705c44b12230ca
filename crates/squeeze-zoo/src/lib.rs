//! Published networks, blocks and search spaces as rows.
