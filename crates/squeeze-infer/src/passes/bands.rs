//! Inverted residuals run band by band: what lies between their layers never leaves the core's second cache.

use crate::program::{Band, Draft, Program, ValueId, Work};

/// Images between two layers are worth it from this size on; smaller ones stay in the second cache anyway.
const FEWEST_BYTES: usize = 512 << 10;

/// A band of fewer pixels is not worth reading the point layers' weights again.
const FEWEST_PIXELS: usize = 96;

/// Rows that two threads both need are computed by both: at most one of so many.
const MOST_TWICE: usize = 5;

/// Joins depthwise layers with the point layers before and behind them where the images between are large.
pub(crate) fn bands(program: &mut Program, threads: usize) {
    let mut at = 0;
    while at < program.steps.len() {
        if !join(program, at, threads) {
            at += 1;
        }
    }
}

/// Joins the depthwise layer at this step, if it is one and gains; steps may move.
fn join(program: &mut Program, at: usize, threads: usize) -> bool {
    let step = &program.steps[at];
    let is_image = program.values[step.output].shape.len() == 4;
    let Work::Layer(layer) = &step.work else {
        return false;
    };
    let in_bytes = program.values[step.output].code.is_some();
    if !layer.is_depthwise() || !is_image || in_bytes || step.inputs.len() != 1 {
        return false;
    }
    let (input, output) = (step.inputs[0], step.output);
    let uses = program.uses();
    let is_inner =
        |id: ValueId| uses[id] == 1 && !program.is_shared(id) && program.values[id].is_dense();
    let writer = program.steps[..at]
        .iter()
        .rposition(|step| step.output == input);
    let in_bytes = |id: &ValueId| program.values[*id].code.is_some();
    let before = writer.filter(|&before| {
        is_inner(input)
            && is_point(&program.steps[before])
            && !program.steps[before].inputs.iter().any(in_bytes)
            && program.steps[before].inputs.len() == 1
    });
    let reader = program
        .steps
        .iter()
        .position(|step| step.inputs.first() == Some(&output));
    let behind = reader.filter(|&behind| {
        is_inner(output)
            && is_point(&program.steps[behind])
            && !in_bytes(&program.steps[behind].output)
    });
    let bytes = |id: ValueId| 4 * program.values[id].span();
    let between = before.map_or(0, |_| bytes(input)) + behind.map_or(0, |_| bytes(output));
    if between < FEWEST_BYTES {
        return false;
    }
    let layer_at = |at: usize| match &program.steps[at].work {
        Work::Layer(layer) => layer.clone(),
        _ => unreachable!("it is a layer"),
    };
    let band = Band {
        expand: before.map(layer_at),
        depthwise: layer_at(at),
        project: behind.map(layer_at),
    };
    let window = band.depthwise.window;
    if band.rows() * window.stride[0] * window.size[2] < FEWEST_PIXELS {
        return false;
    }
    if band.expand.is_some() && window.rows_read_twice(threads) * MOST_TWICE > window.size[1] {
        return false;
    }
    let last = behind.unwrap_or(at);
    let mut draft = program.steps[last].clone();
    draft.kind = match (before, behind) {
        (Some(_), Some(_)) => "expand + depthwise + project",
        (Some(_), None) => "expand + depthwise",
        _ => "depthwise + project",
    };
    draft.inputs[0] = program.steps[before.unwrap_or(at)].inputs[0];
    let parts = before.into_iter().chain([at]).chain(behind);
    draft.macs = parts.clone().map(|at| program.steps[at].macs).sum();
    draft.work = Work::Band(Box::new(band));
    program.steps[last] = draft;
    let mut gone: Vec<usize> = parts.filter(|&at| at != last).collect();
    gone.sort_unstable();
    for at in gone.into_iter().rev() {
        program.steps.remove(at);
    }
    true
}

/// Whether a step is a layer that computes each pixel from itself alone.
fn is_point(step: &Draft) -> bool {
    match &step.work {
        Work::Layer(layer) => layer.window.is_point() && !layer.is_depthwise(),
        _ => false,
    }
}
