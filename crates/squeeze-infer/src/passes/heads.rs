//! Query, key and value of grouped layers become one product whose result lies head by head: rows are brought to bytes once, and
//! tiles wait once for weights that are not near. Those in numbers gain nothing.

use super::joined;
use crate::program::{Draft, Layer, Program, Sides, ValueId, Work};
use crate::target::{Precision, Target};

/// Joins the three layers before each attention where they are grouped, read the same rows and are computed in bytes.
pub(crate) fn heads(program: &mut Program, target: Target) {
    if target.precision != Precision::Int8 {
        return;
    }
    let mut at = 0;
    while at < program.steps.len() {
        match sources(program, at) {
            Some(three) => at = join(program, at, three),
            None => at += 1,
        }
    }
}

/// The steps that write query, key and value of the attention at this step, if they can be one.
fn sources(program: &Program, at: usize) -> Option<[usize; 3]> {
    let step = &program.steps[at];
    let Work::Attention(attention, Sides::Apart) = &step.work else {
        return None;
    };
    let sides = [0, 1, 2].map(|side| step.inputs[side]);
    let uses = program.uses();
    let is_inner = |id: ValueId| uses[id] == 1 && !program.is_shared(id);
    let writer = |id: ValueId| {
        program.steps[..at]
            .iter()
            .position(|step| step.output == id)
    };
    let [q, k, v] = sides.map(|id| is_inner(id).then(|| writer(id)).flatten());
    let three = [q?, k?, v?];
    let first = layer(&program.steps[three[0]])?;
    let head = first.out / attention.heads;
    let inputs = &program.steps[three[0]].inputs;
    let fits = |&at: &usize| {
        let step = &program.steps[at];
        layer(step).is_some_and(|row| {
            (row.out, row.groups, row.activation) == (first.out, first.groups, first.activation)
                && row.bias.is_some() == first.bias.is_some()
                && step.inputs == *inputs
        })
    };
    // Each head is of one group.
    let are_heads_whole = (first.out / first.groups).is_multiple_of(head);
    (are_heads_whole && three.iter().all(fits)).then_some(three)
}

/// The layer of a step, if it is grouped, computes each row from itself alone and adds nothing.
fn layer(step: &Draft) -> Option<&Layer> {
    let Work::Layer(layer) = &step.work else {
        return None;
    };
    let is_grouped = layer.groups > 1 && !layer.is_depthwise();
    (is_grouped && layer.window.is_point() && step.inputs.len() == 1).then_some(layer)
}

/// Makes the steps `three` one; the number of the step behind the attention.
fn join(program: &mut Program, attention: usize, three: [usize; 3]) -> usize {
    let Work::Attention(row, sides) = &mut program.steps[attention].work else {
        unreachable!("it was found to be one");
    };
    *sides = Sides::ByHead;
    let heads = row.heads;
    let mut shape = program.values[program.steps[three[0]].output].shape.clone();
    *shape.last_mut().expect("rows of a text") *= 3;
    let output = program.fresh(&shape);
    let draft = joined(program, &three, heads, output);
    program.steps[attention].inputs.splice(..3, [output]);
    // The first of the three has its place: what they read is there.
    let mut gone = three;
    gone.sort_unstable();
    program.steps[gone[0]] = draft;
    program.steps.remove(gone[2]);
    program.steps.remove(gone[1]);
    attention - 1
}
