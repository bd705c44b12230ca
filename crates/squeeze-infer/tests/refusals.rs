//! What is refused, with the message that says why.

use squeeze_graph::ops::{Attention, Concat, Embedding, Linear, Position, TokenMean};
use squeeze_graph::{Builder, Element, Graph};
use squeeze_infer::{Input, Plan, Target, compile};
use squeeze_rewrite::fresh;
use squeeze_tensor::{Seed, Weights};

fn text() -> Graph {
    let mut b = Builder::new("text");
    let ids = b.input("ids", &[1, 4], Element::Index).expect("fits");
    let lengths = b.input("lengths", &[1], Element::Index).expect("fits");
    let rows = Embedding { rows: 9, width: 8 };
    let x = b.add("word", rows, &[ids]).expect("fits");
    let x = b.add("mean", TokenMean {}, &[x, lengths]).expect("fits");
    let x = b.add("head", Linear::dense(2), &[x]).expect("fits");
    b.finish(&[x]).expect("one output")
}

fn plan() -> Plan {
    let graph = text();
    compile(&graph, &fresh(&graph, Seed(1)), &Target::here(1)).expect("compiles")
}

#[track_caller]
fn refused(inputs: &[Input], message: &str) {
    let error = plan().check(inputs).expect_err("these are refused");
    assert_eq!(error.to_string(), message);
}

#[test]
fn good_inputs_are_taken() {
    let inputs = [Input::Indices(&[0, 8, 3, 4]), Input::Indices(&[4])];
    assert_eq!(plan().check(&inputs), Ok(()));
}

#[test]
fn one_input_is_missing() {
    let message = "the network takes 2 inputs, 1 are given";
    refused(&[Input::Indices(&[0; 4])], message);
}

#[test]
fn a_text_is_too_short() {
    let message = "input ids is [1, 4], 3 elements are given";
    refused(&[Input::Indices(&[0; 3]), Input::Indices(&[1])], message);
}

#[test]
fn numbers_are_no_indices() {
    let message = "input ids takes indices";
    refused(&[Input::Numbers(&[0.0; 4]), Input::Indices(&[1])], message);
}

#[test]
fn a_token_is_outside_of_the_vocabulary() {
    let message = "input ids, element 2: 9 is outside of 0..=8";
    let ids = [0, 1, 9, -1];
    refused(&[Input::Indices(&ids), Input::Indices(&[1])], message);
}

#[test]
fn a_length_is_longer_than_the_text() {
    let message = "input lengths, element 0: 5 is outside of 1..=4";
    refused(&[Input::Indices(&[0; 4]), Input::Indices(&[5])], message);
}

#[test]
fn weights_of_another_network() {
    let error = compile(&text(), &Weights::default(), &Target::here(1)).expect_err("no weights");
    let message = "the weights are not those of `text`; 3 missing: word.weight [9, 8], \
                   head.weight [2, 8], head.bias [2]";
    assert_eq!(error.to_string(), message);
}

#[test]
fn a_node_without_a_kernel_is_named() {
    let mut b = Builder::new("cross");
    let q = b.input("q", &[1, 3, 8], Element::Number).expect("fits");
    let v = b.add("v", Concat { axis: 2 }, &[q, q]).expect("fits");
    let y = b
        .add("layer.2.cross", Attention::new(2), &[q, q, v])
        .expect("fits");
    let graph = b.finish(&[y]).expect("one output");
    let error = compile(&graph, &Weights::default(), &Target::here(1)).expect_err("no kernel");
    let message = "layer.2.cross: no kernel for this attention: keys [1, 3, 8] and values \
                   [1, 3, 16] must be of one shape";
    assert_eq!(error.to_string(), message);
}

#[test]
fn positions_are_no_result() {
    let mut b = Builder::new("positions");
    let ids = b.input("ids", &[1, 3], Element::Index).expect("fits");
    let row = Position {
        first: 0,
        places: 3,
    };
    let y = b.add("places", row, &[ids]).expect("fits");
    let graph = b.finish(&[y]).expect("one output");
    let error = compile(&graph, &Weights::default(), &Target::here(1)).expect_err("no kernel");
    let message = "places: no kernel for this position: positions are taken by embeddings alone";
    assert_eq!(error.to_string(), message);
}

#[test]
fn profile_and_steps_agree() {
    let plan = plan();
    let inputs = [Input::Indices(&[0; 4]), Input::Indices(&[4])];
    assert_eq!(plan.profile(&inputs, 3).len(), plan.steps().count());
    let macs: u64 = plan.steps().map(|step| step.macs).sum();
    assert_eq!(macs, text().cost().macs);
}
