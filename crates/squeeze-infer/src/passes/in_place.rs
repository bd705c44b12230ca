//! Element-wise steps and layer norms overwrite an input that nobody reads later.

use crate::program::{Program, Source, ValueId, Work};

/// Gives the result of such steps the home of an input where that is safe.
pub(crate) fn in_place(program: &mut Program) {
    for at in 0..program.steps.len() {
        let step = &program.steps[at];
        let candidates: &[ValueId] = match step.work {
            Work::Activation(_) | Work::Add(_) | Work::AddGate | Work::LayerNorm(_) => &step.inputs,
            _ => &[],
        };
        let last = if matches!(step.work, Work::AddGate) {
            1
        } else {
            2
        };
        let output = step.output;
        let found = candidates
            .iter()
            .take(last)
            .copied()
            .find(|&input| may_overwrite(program, at, input));
        let Some(input) = found else { continue };
        let (from, to) = (
            program.values[output].home.source,
            program.values[input].home.source,
        );
        for value in &mut program.values {
            if value.home.source == from {
                value.home.source = to;
            }
        }
        // The other input of a sum is the one that is added.
        let inputs = &mut program.steps[at].inputs;
        if inputs[0] != input {
            inputs.swap(0, 1);
        }
    }
}

/// Whether `input` fills its buffer, as the step's result fills its own, and is read for the last time.
fn may_overwrite(program: &Program, at: usize, input: ValueId) -> bool {
    let (from, to) = (
        &program.values[input],
        &program.values[program.steps[at].output],
    );
    let (Source::Buffer(old), Source::Buffer(new)) = (from.home.source, to.home.source) else {
        return false;
    };
    let whole = |value: &crate::program::Value, buffer: usize| {
        value.is_dense()
            && value.home.offset == 0
            && program.buffers[buffer] == value.rows() * value.columns()
    };
    let in_buffer = |id: &ValueId| program.values[*id].home.source == from.home.source;
    let read_later = program.steps[at + 1..]
        .iter()
        .any(|step| step.inputs.iter().any(in_buffer));
    let read_twice = program.steps[at]
        .inputs
        .iter()
        .filter(|id| in_buffer(id))
        .count()
        > 1;
    old != new
        && from.code.is_none()
        && to.code.is_none()
        && whole(from, old)
        && whole(to, new)
        && !read_later
        && !read_twice
        && !program.outputs.iter().any(in_buffer)
}
