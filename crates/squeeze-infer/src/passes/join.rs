//! Concatenation in place: what is copied into a larger buffer is written there at once.

use crate::program::{Program, Work};

/// Removes copies whose source can be written to their destination instead.
pub(crate) fn join(program: &mut Program) {
    let mut at = 0;
    while at < program.steps.len() {
        if writes_at_once(program, at) {
            let copy = program.steps.remove(at);
            program.values[copy.inputs[0]].home = program.values[copy.output].home;
        } else {
            at += 1;
        }
    }
}

fn writes_at_once(program: &Program, at: usize) -> bool {
    let copy = &program.steps[at];
    if !matches!(copy.work, Work::Move) {
        return false;
    }
    let source = copy.inputs[0];
    let buffer = program.values[copy.output].home.source;
    let writers = program.steps[..at]
        .iter()
        .filter(|step| step.output == source);
    let mut writers = writers.peekable();
    // The step must not read from the buffer that it writes to, and what a layer adds lies like
    // its result.
    let can_write = |step: &crate::program::Draft| {
        step.work.writes_strided()
            && step.inputs.len() == 1
            && step
                .inputs
                .iter()
                .all(|&input| program.values[input].home.source != buffer)
    };
    let reads = |step: &crate::program::Draft| {
        step.inputs
            .iter()
            .enumerate()
            .all(|(index, &input)| input != source || step.work.reads_strided(index))
    };
    writers.peek().is_some()
        && writers.all(can_write)
        && !program.is_shared(source)
        && program.steps.iter().all(reads)
}
