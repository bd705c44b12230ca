//! Channel shuffles beside a dense layer disappear: its weights are put in the shuffled order.

use crate::program::{Layer, Program, ValueId, Work};

/// Removes shuffles whose only reader, or whose only writer, is a dense layer.
pub(crate) fn shuffle(program: &mut Program) {
    let mut at = 0;
    while at < program.steps.len() {
        if into_reader(program, at) || into_writer(program, at) {
            program.steps.remove(at);
        } else {
            at += 1;
        }
    }
}

/// The shuffle's groups, when the value beside it belongs to these two steps alone.
fn groups(program: &Program, at: usize, beside: ValueId) -> Option<usize> {
    let Work::Shuffle { groups } = program.steps[at].work else {
        return None;
    };
    let alone = program.uses()[beside] == 1 && !program.is_shared(beside);
    alone.then_some(groups)
}

/// Channel `to` of a shuffle's result is channel `source(to)` of what it takes.
fn source(to: usize, channels: usize, groups: usize) -> usize {
    to % groups * (channels / groups) + to / groups
}

fn into_reader(program: &mut Program, at: usize) -> bool {
    let output = program.steps[at].output;
    let Some(groups) = groups(program, at, output) else {
        return false;
    };
    let input = program.steps[at].inputs[0];
    let reader = program
        .steps
        .iter()
        .position(|step| step.inputs.contains(&output));
    let Some(reader) = reader else { return false };
    let channels = program.values[output].columns();
    if program.steps[reader].inputs[0] != output {
        return false;
    }
    let Work::Layer(layer) = &mut program.steps[reader].work else {
        return false;
    };
    if layer.groups != 1 || layer.is_depthwise() {
        return false;
    }
    let mut order = vec![0; channels];
    for to in 0..channels {
        order[source(to, channels, groups)] = to;
    }
    layer.weight.reorder_columns(&order);
    program.steps[reader].inputs[0] = input;
    true
}

fn into_writer(program: &mut Program, at: usize) -> bool {
    let Some(&input) = program.steps[at].inputs.first() else {
        return false;
    };
    let Some(groups) = groups(program, at, input) else {
        return false;
    };
    let output = program.steps[at].output;
    let writer = program.steps[..at]
        .iter()
        .position(|step| step.output == input);
    let Some(writer) = writer else { return false };
    let no_residual = program.steps[writer].inputs.len() == 1;
    let Work::Layer(layer) = &mut program.steps[writer].work else {
        return false;
    };
    if layer.groups != 1 || layer.is_depthwise() || !no_residual {
        return false;
    }
    shuffle_rows(layer, groups);
    program.steps[writer].output = output;
    true
}

fn shuffle_rows(layer: &mut Layer, groups: usize) {
    let order = (0..layer.out).map(|to| source(to, layer.out, groups));
    let order: Vec<usize> = order.collect();
    layer.weight.reorder(|weight| weight.rows_in(&order));
    if let Some(bias) = &mut layer.bias {
        *bias = order.iter().map(|&from| bias[from]).collect();
    }
}
