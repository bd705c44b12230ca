//! Query, key and value of grouped layers become one product whose result lies head by head: rows are brought to bytes once, and
//! tiles wait once for weights that are not near. Those in numbers gain nothing.

use crate::numbers::Rows;
use crate::program::{Draft, Layer, Program, Sides, ValueId, Work, joined_name};
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
    let steps = three.map(|at| program.steps[at].clone());
    let layers = steps.each_ref().map(|step| match &step.work {
        Work::Layer(layer) => layer.clone(),
        _ => unreachable!("only layers are joined"),
    });
    let mut shape = program.values[steps[0].output].shape.clone();
    *shape.last_mut().expect("rows of a text") *= 3;
    let output = program.fresh(&shape);
    let first = layers[0].clone();
    let bias = first.bias.is_some().then(|| {
        let head = first.out / heads;
        let numbers = |layer: &Layer, head_at: usize| {
            let bias = layer.bias.as_deref().expect("all have one");
            bias[head_at * head..(head_at + 1) * head].to_vec()
        };
        let numbers = |at: usize| layers.each_ref().map(|layer| numbers(layer, at)).concat();
        (0..heads).flat_map(numbers).collect()
    });
    let joined = Layer {
        out: 3 * first.out,
        weight: Rows::by_turns(layers.map(|layer| layer.weight), heads),
        bias,
        ..first
    };
    let [q, k, v] = steps.each_ref().map(|step| &step.name);
    let draft = Draft {
        name: joined_name(&joined_name(q, k), v),
        work: Work::Layer(joined),
        output,
        macs: steps.iter().map(|step| step.macs).sum(),
        ..steps[0].clone()
    };
    program.steps[attention].inputs.splice(..3, [output]);
    // The first of the three has its place: what they read is there.
    let mut gone = three;
    gone.sort_unstable();
    program.steps[gone[0]] = draft;
    program.steps.remove(gone[2]);
    program.steps.remove(gone[1]);
    attention - 1
}
