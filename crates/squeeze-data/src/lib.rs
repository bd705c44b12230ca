//! Data sets, image decoding, tokenisers, tasks and metrics.
