//! Rows of tables in model files: read when a run takes them, and checked then.

use std::path::Path;

use squeeze_formats::model::{load, load_to_run, save};
use squeeze_formats::{Meta, ModelFile};
use squeeze_graph::ops::{Embedding, Linear};
use squeeze_graph::{Builder, Element};
use squeeze_infer::{Input, InputError, Target, compile};
use squeeze_tensor::{Dtype, Tensor};

/// A megabyte and a bit: rows of 256 bytes, 128 of them in a block.
const ROWS: usize = 4100;
const WIDTH: usize = 64;

/// A table that nothing but `ids` reads, or whose rows are multiplied with as well.
fn model(rows: usize, is_tied: bool) -> ModelFile {
    let mut b = Builder::new("rows");
    let ids = b.input("ids", &[1, 2], Element::Index).expect("fits");
    let table = Embedding { rows, width: WIDTH };
    let x = b.add("words", table, &[ids]).expect("fits");
    let y = match is_tied {
        false => b.add("head", Linear::dense(3), &[x]).expect("fits"),
        true => {
            let head = Linear {
                bias: false,
                ..Linear::dense(rows)
            };
            b.tied("head", x, head, &[x]).expect("fits")
        }
    };
    let graph = b.finish(&[y]).expect("one output");
    let weights = squeeze_rewrite::fresh(&graph, squeeze_tensor::Seed(3));
    let meta = Meta::default();
    ModelFile {
        graph,
        weights,
        meta,
    }
}

/// Flips a bit of a row of the table in the file.
fn damage(path: &Path, model: &ModelFile, row: usize) {
    let table = model.weights.get("words.weight").expect("a table");
    let (_, of) = table.block_of_rows(1, row);
    let mut bytes = std::fs::read(path).expect("written");
    let width = of.len();
    let mut places = (0..=bytes.len() - width).filter(|&at| &bytes[at..at + width] == of);
    let at = places.next().expect("the row lies in the file");
    assert_eq!(places.next(), None);
    bytes[at + 5] ^= 1;
    std::fs::write(path, bytes).expect("writable");
}

#[test]
fn damaged_rows_are_found_when_they_are_taken() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.squeeze");
    let model = model(ROWS, false);
    save(&path, &model).expect("writable");
    assert_eq!(load(&path).expect("its own"), model);
    damage(&path, &model, 300);
    let whole = load(&path).expect_err("a bit is another").to_string();
    let wanted = "damaged: the checksum of rows 256 to 383 of `words.weight` differs";
    assert!(whole.contains(wanted), "{whole}");
    let held = load_to_run(&path, 2).expect("no row is read");
    let plan = compile(&held.graph, &held.weights, &Target::here(1)).expect("compiles");
    let sound = [Input::Indices(&[255, 4099])];
    for _ in 0..2 {
        assert_eq!(plan.check(&sound), Ok(()));
        let damaged = plan.check(&[Input::Indices(&[4099, 383])]);
        let wanted = InputError::Damaged {
            file: path.display().to_string(),
            weight: "words.weight".into(),
            first: 256,
            last: 383,
        };
        assert_eq!(damaged, Err(wanted));
    }
    let whole = compile(&model.graph, &model.weights, &Target::here(1)).expect("compiles");
    let (mut scratch, mut own) = (plan.scratch(), whole.scratch());
    let outputs = plan.run(&sound, &mut scratch).first();
    assert_eq!(outputs, whole.run(&sound, &mut own).first());
}

#[track_caller]
fn is_checked_at_once(model: &ModelFile) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("table.squeeze");
    save(&path, model).expect("writable");
    assert_eq!(load_to_run(&path, 1).expect("its own"), *model);
    damage(&path, model, 4099);
    let refused = load_to_run(&path, 1).expect_err("all rows are read");
    assert!(refused.to_string().contains("damaged: "), "{refused}");
}

#[test]
fn a_table_that_is_multiplied_with_is_checked_at_once() {
    is_checked_at_once(&model(ROWS, true));
}

#[test]
fn a_table_that_is_converted_is_checked_at_once() {
    let mut model = model(2 * ROWS, false);
    let table = model.weights.get("words.weight").expect("a table");
    // bfloat16 is the upper half of a number.
    let upper = |number: &f32| ((number.to_bits() >> 16) as u16).to_le_bytes();
    let halves: Vec<u8> = table.numbers().iter().flat_map(upper).collect();
    let halves = Tensor::new(Dtype::Bf16, &[2 * ROWS, WIDTH], halves).expect("fits");
    model.weights.insert("words.weight", halves);
    is_checked_at_once(&model);
}
