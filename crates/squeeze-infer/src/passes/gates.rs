//! Gates of squeeze-and-excitation become factors of the weights behind them: of one image these are fewer than its pixels.

use super::absorb;
use crate::kernel::{Family, LayerFacts};
use crate::program::{Draft, Program, Work, joined_name};
use crate::target::Target;

/// Joins products with a gate and the point layers that alone read them.
pub(crate) fn gates(program: &mut Program, target: Target) {
    absorb(program, |program, at| join(program, at, target));
}

/// The step that takes the place of the layer at this step, and the product with a gate before it, which goes.
fn join(program: &Program, at: usize, target: Target) -> Option<(usize, Draft)> {
    let step = &program.steps[at];
    let Work::Layer(layer) = &step.work else {
        return None;
    };
    let is_gate =
        |other: &Draft| matches!(other.work, Work::MulGate) && other.output == step.inputs[0];
    let before = program.steps[..at].iter().rposition(is_gate)?;
    let gate = &program.steps[before];
    let [x, y] = [gate.output, step.output].map(|id| &program.values[id]);
    let in_numbers = |id: &usize| program.values[*id].code.is_none();
    let is_dense = |id: &usize| program.values[*id].is_dense();
    let gains = program.uses()[gate.output] == 1
        && !program.is_shared(gate.output)
        && y.shape.len() == 4
        && y.shape[0] == 1
        && layer.out < y.rows()
        && gate.inputs.iter().all(is_dense)
        && gate.inputs.iter().chain(&step.inputs).all(in_numbers)
        && y.code.is_none()
        && LayerFacts::of(layer, [x, y]).family(&target) == Family::Product
        && layer.groups == 1;
    let inputs = gate.inputs.iter().chain(&step.inputs[1..]);
    let draft = Draft {
        name: joined_name(&step.name, &gate.name),
        kind: "gate + conv2d",
        work: Work::Gated(layer.clone()),
        inputs: inputs.copied().collect(),
        ..step.clone()
    };
    gains.then_some((before, draft))
}
