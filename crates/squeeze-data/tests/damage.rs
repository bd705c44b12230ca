//! Damaged files are refused with a message or read in part; they never panic or take huge memory.

use squeeze_data::{DataSet, Image, OpenOptions, Tokenizer};
use squeeze_tensor::Seed;

/// Cuts, flips and repeats bytes at seeded places.
fn damage(good: &[u8], round: u64) -> Vec<u8> {
    let mut random = Seed(7).child_number(round).random();
    let mut bytes = good.to_vec();
    for _ in 0..1 + random.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        match random.below(3) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << random.below(8),
            _ => bytes.insert(at, bytes[random.below(bytes.len())]),
        }
    }
    bytes
}

/// Opens a folder with the files, each damaged in turn, and counts how many were still read.
fn check(rounds: u64, files: &[(&str, &[u8])]) {
    let root = tempfile::tempdir().unwrap();
    let mut read = 0;
    for round in 0..rounds {
        for (index, (name, good)) in files.iter().enumerate() {
            let hit = round as usize % files.len() == index;
            let bytes = if hit {
                damage(good, round)
            } else {
                good.to_vec()
            };
            std::fs::write(root.path().join(name), bytes).unwrap();
        }
        match DataSet::open(root.path().to_str().unwrap(), &OpenOptions::default()) {
            Ok(set) => {
                read += 1;
                set.inspect();
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    assert!(read < rounds, "some damage must be seen");
}

#[test]
fn tables() {
    let csv = b"text,label\n\"a, b\",x\nc,y\n\"d \"\"e\"\"\",x\nf,y\n";
    check(300, &[("train.csv", csv)]);
    check(
        300,
        &[("train.tsv", b"label\ttext\nx\ta b\ny\tc\nx\td\ny\te\n")],
    );
    let lines = b"{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b\", \"label\": \"y\"}\n";
    check(300, &[("train.jsonl", lines)]);
}

#[test]
fn idx_files() {
    let images = [
        &[0, 0, 8, 3, 0, 0, 0, 6, 0, 0, 0, 2, 0, 0, 0, 2][..],
        &[9; 24],
    ]
    .concat();
    let labels = [0, 0, 8, 1, 0, 0, 0, 6, 0, 1, 0, 1, 0, 1];
    check(
        300,
        &[
            ("train-images-idx3-ubyte", &images),
            ("train-labels-idx1-ubyte", &labels),
        ],
    );
}

#[test]
fn images() {
    let picture =
        image::RgbImage::from_fn(20, 20, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]));
    for format in [image::ImageFormat::Png, image::ImageFormat::Jpeg] {
        let mut good = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut good, format).unwrap();
        for round in 0..200 {
            if let Ok(image) = Image::decode(&damage(good.get_ref(), round)) {
                assert_eq!(
                    image.pixels.len(),
                    image.height * image.width * image.channels
                );
            }
        }
    }
}

#[test]
fn tokenizers() {
    let good = Tokenizer::train(["a cat sat on a mat"], Some(40))
        .unwrap()
        .to_json()
        .unwrap();
    for round in 0..200 {
        if let Ok(text) = String::from_utf8(damage(good.as_bytes(), round))
            && let Ok(tokenizer) = Tokenizer::from_json(&text)
        {
            let _ = tokenizer.encode("a cat", Some("a mat"), 6);
        }
    }
}
