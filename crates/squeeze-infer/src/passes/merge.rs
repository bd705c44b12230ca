//! Linear layers that share an input become one product with their weights side by side, where all readers take rows by stride: query,
//! key and value, and what MobileBERT makes of a layer's input.

use crate::program::{Draft, Home, Layer, Program, ValueId, Work};

use super::joined;

/// Merges dense layers over the same rows whose results may lie side by side.
pub(crate) fn merge(program: &mut Program) {
    let mut at = 0;
    while at < program.steps.len() {
        let group = partners(program, at);
        if group.len() > 1 {
            join(program, &group);
        }
        at += 1;
    }
}

/// The steps that can be computed together with `at`, which comes first.
fn partners(program: &Program, at: usize) -> Vec<usize> {
    let fits = |step: &Draft| mergeable(program, step).is_some();
    let Some(first) = mergeable(program, &program.steps[at]) else {
        return vec![];
    };
    let input = program.steps[at].inputs[0];
    let alike = |&other: &usize| {
        let step = &program.steps[other];
        fits(step)
            && step.inputs == [input]
            && mergeable(program, step).is_some_and(|layer| {
                layer.activation == first.activation && layer.bias.is_some() == first.bias.is_some()
            })
    };
    (at..program.steps.len()).filter(alike).collect()
}

fn mergeable<'a>(program: &Program, step: &'a Draft) -> Option<&'a Layer> {
    let Work::Layer(layer) = &step.work else {
        return None;
    };
    let reads_strided = |reader: &Draft| {
        let inputs = reader.inputs.iter().enumerate();
        let mut own = inputs.filter(|&(_, &input)| input == step.output);
        own.all(|(at, _)| reader.work.reads_strided(at))
    };
    // Images are brought to bytes each on its own.
    let is_image = program.values[step.output].shape.len() == 4;
    let fits = layer.groups == 1
        && layer.window.is_point()
        && step.inputs.len() == 1
        && !program.is_shared(step.output)
        && !is_image
        && program.steps.iter().all(reads_strided);
    fits.then_some(layer)
}

fn join(program: &mut Program, group: &[usize]) {
    let outputs: Vec<ValueId> = group.iter().map(|&at| program.steps[at].output).collect();
    let width: usize = outputs.iter().map(|&id| program.values[id].columns()).sum();
    let mut shape = program.values[outputs[0]].shape.clone();
    let channels = shape.len() - 1;
    shape[channels] = width;
    let packed = program.fresh(&shape);
    let home = program.values[packed].home;
    let mut offset = 0;
    for &output in &outputs {
        program.values[output].home = Home { offset, ..home };
        offset += program.values[output].columns();
    }
    program.steps[group[0]] = joined(program, group, 1, packed);
    for &at in group[1..].iter().rev() {
        program.steps.remove(at);
    }
}
