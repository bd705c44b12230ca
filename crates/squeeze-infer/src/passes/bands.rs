//! Inverted residuals run band by band: what lies between their layers never leaves the core's second cache.

use crate::kernel::{Family, LayerFacts};
use crate::program::{Band, Draft, Program, ValueId, Work};
use crate::target::Target;

/// Images between two layers are worth it from this size on; smaller ones stay in the second cache anyway.
const FEWEST_BYTES: usize = 512 << 10;

/// A band of fewer pixels is not worth reading the point layers' weights again.
const FEWEST_PIXELS: usize = 96;

/// Weights of windows are read again for each band, so they must stay near.
const MOST_WEIGHTS: usize = 32 << 10;

/// Rows that two threads both need are computed by both: at most one of so many.
const MOST_TWICE: usize = 5;

/// Joins depthwise layers with the layers before and the point layers behind them where the images between are large.
pub(crate) fn bands(program: &mut Program, target: Target) {
    let mut at = 0;
    while at < program.steps.len() {
        if !join(program, at, target) {
            at += 1;
        }
    }
}

/// Joins the depthwise layer at this step, if it is one and gains; steps may move.
fn join(program: &mut Program, at: usize, target: Target) -> bool {
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
    let is_inner = |id: ValueId, times: usize| {
        uses[id] == times && !program.is_shared(id) && program.values[id].is_dense()
    };
    let writer = program.steps[..at]
        .iter()
        .rposition(|step| step.output == input);
    let in_bytes = |id: &ValueId| program.values[*id].code.is_some();
    let reader = program
        .steps
        .iter()
        .position(|step| step.inputs.first() == Some(&output));
    let behind = reader.filter(|&behind| {
        is_inner(output, 1)
            && is_point(&program.steps[behind])
            && !in_bytes(&program.steps[behind].output)
    });
    // What is added behind must lie as what is written.
    let adds_expanded = behind.is_some_and(|behind| {
        let step = &program.steps[behind];
        let [from, to] = [input, step.output].map(|id| &program.values[id]);
        step.inputs.get(1) == Some(&input) && to.is_dense() && from.shape == to.shape
    });
    let before = writer.filter(|&before| {
        is_inner(input, 1 + usize::from(adds_expanded))
            && may_expand(program, before, target)
            && !program.steps[before].inputs.iter().any(in_bytes)
            && program.steps[before].inputs.len() == 1
    });
    let adds_expanded = adds_expanded && before.is_some();
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
        adds_expanded,
    };
    let window = band.depthwise.window;
    if band.rows() * window.stride[0] * window.size[2] < FEWEST_PIXELS {
        return false;
    }
    if band.expand.is_some() && window.rows_read_twice(target.threads) * MOST_TWICE > window.size[1]
    {
        return false;
    }
    let last = behind.unwrap_or(at);
    let mut draft = program.steps[last].clone();
    draft.kind = match (before, behind) {
        (Some(_), Some(_)) if band.expands_windows() => "conv2d + depthwise + project",
        (Some(_), None) if band.expands_windows() => "conv2d + depthwise",
        (Some(_), Some(_)) => "expand + depthwise + project",
        (Some(_), None) => "expand + depthwise",
        _ => "depthwise + project",
    };
    if adds_expanded {
        draft.inputs.truncate(1);
    }
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

/// Whether a step is a layer some of whose rows can be computed at a time: a point layer, or small windows in single precision.
fn may_expand(program: &Program, at: usize, target: Target) -> bool {
    let step = &program.steps[at];
    let Work::Layer(layer) = &step.work else {
        return false;
    };
    let values = [step.inputs[0], step.output].map(|id| &program.values[id]);
    let is_window = || {
        layer.weight.len() <= MOST_WEIGHTS
            && LayerFacts::of(layer, values).family(&target) == Family::Windows
    };
    is_point(step) || is_window()
}

/// Whether a step is a layer that computes each pixel from itself alone.
fn is_point(step: &Draft) -> bool {
    match &step.work {
        Work::Layer(layer) => layer.window.is_point() && !layer.is_depthwise(),
        _ => false,
    }
}
