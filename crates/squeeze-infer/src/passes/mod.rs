//! The passes of the compiler, one file a pass, in the order of `compile.rs`.

mod bands;
mod bytes;
mod embed;
mod fuse;
mod gates;
mod heads;
mod in_place;
mod join;
mod merge;
mod needed_rows;
mod pools;
mod settle;
mod shuffle;

pub(crate) use bands::bands;
pub(crate) use bytes::bytes;
pub(crate) use embed::embed;
pub(crate) use fuse::fuse;
pub(crate) use gates::gates;
pub(crate) use heads::heads;
pub(crate) use in_place::in_place;
pub(crate) use join::join;
pub(crate) use merge::merge;
pub(crate) use needed_rows::needed_rows;
pub(crate) use pools::pools;
pub(crate) use settle::settle;
pub(crate) use shuffle::shuffle;

use crate::program::{Draft, Layer, Program, ValueId, Work, joined_name};

/// Lets each step that `join` gives another for take the place of itself and of one before it, which `join` names.
fn absorb(program: &mut Program, join: impl Fn(&Program, usize) -> Option<(usize, Draft)>) {
    let mut at = 0;
    while at < program.steps.len() {
        match join(program, at) {
            Some((gone, draft)) => {
                program.steps[at] = draft;
                program.steps.remove(gone);
            }
            None => at += 1,
        }
    }
}

/// The step that computes what some layers of the same input do, the first of so many parts of each one's output, then the next of each.
fn joined(program: &Program, steps: &[usize], turns: usize, output: ValueId) -> Draft {
    let steps: Vec<&Draft> = steps.iter().map(|&at| &program.steps[at]).collect();
    let layer = |step: &&Draft| match &step.work {
        Work::Layer(layer) => layer.clone(),
        _ => unreachable!("only layers are joined"),
    };
    let layers = steps.iter().map(layer).collect();
    let names = steps.iter().map(|step| step.name.clone());
    let name = names.reduce(|name, next| joined_name(&name, &next));
    Draft {
        name: name.expect("at least one layer"),
        work: Work::Layer(Layer::joined(layers, turns)),
        output,
        macs: steps.iter().map(|step| step.macs).sum(),
        ..steps[0].clone()
    }
}
