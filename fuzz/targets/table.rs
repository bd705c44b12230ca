//! Tables of texts: the same bytes as CSV, TSV, JSON lines and JSON of parts.
#![no_main]

use squeeze_data::{DataSet, OpenOptions};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for name in ["x.csv", "x.tsv", "x.jsonl", "x.json"] {
        squeeze_fuzz::on_file(name, bytes, |path| {
            let name = path.to_str().expect("an ASCII path");
            if let Ok(set) = DataSet::open(name, &OpenOptions::default()) {
                set.inspect();
            }
        });
    }
});
