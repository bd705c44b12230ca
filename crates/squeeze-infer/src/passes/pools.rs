//! Convolutions run row by row into the pool behind them: the image between never leaves the core's second cache.

use squeeze_graph::ops::PoolKind;

use super::absorb;
use crate::kernel::{Family, LayerFacts};
use crate::program::{Draft, Pooled, Program, Work};
use crate::target::Target;

/// Images between convolution and pool are worth it from this size on.
const FEWEST_BYTES: usize = 512 << 10;

/// The weight is read again for each row, so it must stay near: bytes, or as many of numbers.
const MOST_WEIGHTS: usize = 128 << 10;

/// Joins the largest-of-window pools with the convolutions before them where the image between is large.
pub(crate) fn pools(program: &mut Program, target: Target) {
    absorb(program, |program, at| join(program, at, target));
}

/// The step that takes the place of the pool at this step, and which one goes.
fn join(program: &Program, at: usize, target: Target) -> Option<(usize, Draft)> {
    let step = &program.steps[at];
    let Work::Pool(pool) = &step.work else {
        return None;
    };
    let between = step.inputs[0];
    let before = program.steps[..at]
        .iter()
        .rposition(|step| step.output == between)?;
    let writer = &program.steps[before];
    let Work::Layer(layer) = &writer.work else {
        return None;
    };
    let value = &program.values[between];
    let values = [&program.values[writer.inputs[0]], value];
    let family = LayerFacts::of(layer, values).family(&target);
    let size = match family {
        Family::WindowsInBytes => 1,
        Family::Windows => size_of::<f32>(),
        _ => return None,
    };
    let gains = pool.kind == PoolKind::Max
        && value.code.is_none()
        && writer.inputs.len() == 1
        && program.uses()[between] == 1
        && !program.is_shared(between)
        && value.is_dense()
        && 4 * value.span() >= FEWEST_BYTES
        && layer.weight.len() * size <= MOST_WEIGHTS
        && program.values[writer.inputs[0]].code.is_none();
    let pooled = Pooled {
        layer: layer.clone(),
        in_bytes: family == Family::WindowsInBytes,
        shape: value.memory_shape(),
        pool: pool.clone(),
    };
    let draft = Draft {
        kind: "conv2d + pool",
        work: Work::Pooled(Box::new(pooled)),
        inputs: writer.inputs.clone(),
        macs: writer.macs,
        ..step.clone()
    };
    gains.then_some((before, draft))
}
