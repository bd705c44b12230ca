//! `squeeze-run` holds nothing that trains. That it answers as `squeeze run` does is in `command_line.rs`.

/// A message of the training loop: whoever holds the loop holds it.
const OF_TRAINING: &str = "lower the learning rate or clip the gradient";

#[test]
fn the_training_loop_is_in_the_other_binary_alone() {
    let holds = |path: &str| {
        let bytes = std::fs::read(path).expect("built for this test");
        let mut places = bytes.windows(OF_TRAINING.len());
        places.any(|place| place == OF_TRAINING.as_bytes())
    };
    assert!(holds(env!("CARGO_BIN_EXE_squeeze")));
    assert!(!holds(env!("CARGO_BIN_EXE_squeeze-run")));
}
