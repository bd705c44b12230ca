//! Steps that continue the one before them become its epilogue: activations, residual sums, scales,
//! and sums before a layer norm.

use squeeze_kernels::activation::Activation;

use crate::program::{Program, ValueId, Work};

/// Fuses what the kernels can do in one pass over memory.
pub(crate) fn fuse(program: &mut Program) {
    // A sum goes to the norm that follows it; only then may a layer take the sums that are left.
    each_pair(program, add_and_norm);
    each_pair(program, then_activation);
    each_pair(program, |program, first, second| {
        layer_and_add(program, first, second) || layer_and_scale(program, first, second)
    });
    each_pair(program, then_activation);
}

/// Offers each step `(first, second)` where the second alone reads the first's result, until no
/// offer is taken, and the first is gone. A fused pair stays at the second's place: by then all
/// inputs are there.
fn each_pair(program: &mut Program, fuse: fn(&mut Program, usize, usize) -> bool) {
    let mut second = 0;
    while second < program.steps.len() {
        let mut fused = false;
        for input in 0..program.steps[second].inputs.len() {
            let value = program.steps[second].inputs[input];
            let Some(first) = sole_writer(program, value, second) else {
                continue;
            };
            if fuse(program, first, second) {
                fused = true;
                break;
            }
        }
        // After a fusion the same step lies one place earlier and is offered again.
        second = if fused { second - 1 } else { second + 1 };
    }
}

/// The step that writes a value which `reader` alone reads.
fn sole_writer(program: &Program, value: ValueId, reader: usize) -> Option<usize> {
    if program.is_shared(value) || program.uses()[value] != 1 {
        return None;
    }
    program.steps[..reader]
        .iter()
        .position(|step| step.output == value)
}

fn add_and_norm(program: &mut Program, first: usize, second: usize) -> bool {
    let same_rows = |&id: &ValueId| program.values[id].is_dense();
    let inputs = program.steps[first].inputs.clone();
    let fits = matches!(program.steps[first].work, Work::Add(Activation::Identity))
        && matches!(program.steps[second].work, Work::LayerNorm(_))
        && program.steps[second].inputs.len() == 1
        && inputs.iter().all(same_rows);
    if fits {
        program.steps[second].inputs = inputs;
        program.steps[second].kind = "add + layer_norm";
        program.steps.remove(first);
    }
    fits
}

fn then_activation(program: &mut Program, first: usize, second: usize) -> bool {
    let Work::Activation(after) = program.steps[second].work else {
        return false;
    };
    let slot = match &mut program.steps[first].work {
        Work::Layer(layer) => &mut layer.activation,
        Work::Scale(scale) => &mut scale.activation,
        Work::Add(activation) => activation,
        _ => return false,
    };
    if *slot != Activation::Identity {
        return false;
    }
    *slot = after;
    program.steps[first].output = program.steps[second].output;
    replace_by_earlier(program, first, second);
    true
}

/// Puts the first step in the second's place.
fn replace_by_earlier(program: &mut Program, first: usize, second: usize) {
    let step = program.steps.remove(first);
    program.steps[second - 1] = step;
}

fn layer_and_add(program: &mut Program, first: usize, second: usize) -> bool {
    let Work::Add(after) = program.steps[second].work else {
        return false;
    };
    let sum = &program.steps[second];
    let (inputs, output) = (sum.inputs.clone(), sum.output);
    let step = &mut program.steps[first];
    let Work::Layer(layer) = &mut step.work else {
        return false;
    };
    if layer.activation != Activation::Identity || step.inputs.len() != 1 {
        return false;
    }
    layer.activation = after;
    let other = inputs.into_iter().find(|&input| input != step.output);
    step.inputs
        .push(other.expect("the second input is another value: this one is read once"));
    step.output = output;
    replace_by_earlier(program, first, second);
    true
}

/// `factor * (W x + b + other) + addend` is a layer whose weights are scaled, and so is what it adds.
fn layer_and_scale(program: &mut Program, first: usize, second: usize) -> bool {
    let (before, after) = program.steps.split_at_mut(second);
    let Work::Scale(scale) = &after[0].work else {
        return false;
    };
    let step = &mut before[first];
    let Work::Layer(layer) = &mut step.work else {
        return false;
    };
    let adds = step.inputs.len() > 1;
    if layer.activation != Activation::Identity || adds && layer.is_depthwise() {
        return false;
    }
    layer.weight.scale(&scale.factor);
    let bias = layer
        .bias
        .get_or_insert_with(|| vec![0.0; scale.addend.len()]);
    for (channel, bias) in bias.iter_mut().enumerate() {
        *bias = *bias * scale.factor[channel] + scale.addend[channel];
    }
    if adds {
        let factors = layer.factors.get_or_insert_with(|| vec![1.0; bias.len()]);
        factors
            .iter_mut()
            .zip(&scale.factor)
            .for_each(|(own, factor)| *own *= factor);
    }
    layer.activation = scale.activation;
    step.output = after[0].output;
    replace_by_earlier(program, first, second);
    true
}
