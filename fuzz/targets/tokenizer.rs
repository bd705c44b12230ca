//! Tokenisers: `tokenizer.json` and `vocab.txt`, and a text through what they make; pieces of bytes, there and back.
#![no_main]

use squeeze_data::{BytePieces, Tokenizer};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for name in ["tokenizer.json", "vocab.txt"] {
        squeeze_fuzz::on_file(name, bytes, |path| {
            if let Ok(tokenizer) = Tokenizer::open(path) {
                let _ = tokenizer.encode("Two words, A\u{308} and 猫.", Some("more"), 16);
            }
        });
    }
    if let Ok(pieces) = std::str::from_utf8(bytes).map(BytePieces::from_json)
        && let Ok(pieces) = pieces
        && let Ok(ids) = pieces.encode("Two words, A\u{308} and 猫.")
    {
        pieces.decode(&ids);
    }
});
