//! Concatenation in place: what is copied into a larger buffer is written there at once.

use crate::program::{Draft, Program, Source, ValueId, Work};

/// Removes copies whose source can be written to their destination instead.
pub(crate) fn join(program: &mut Program) {
    let mut at = 0;
    while at < program.steps.len() {
        if let Some(written) = writes_at_once(program, at) {
            let copy = program.steps.remove(at);
            program.values[written].home = program.values[copy.output].home;
        } else {
            at += 1;
        }
    }
}

/// The value that steps may write where a copy's result is to be, if there is one: what the copy reads, perhaps under another shape.
fn writes_at_once(program: &Program, at: usize) -> Option<ValueId> {
    let copy = &program.steps[at];
    if !matches!(copy.work, Work::Move) {
        return None;
    }
    let source = copy.inputs[0];
    let written = written(program, source)?;
    let buffer = program.values[copy.output].home.source;
    let mut writers = program.steps[..at]
        .iter()
        .filter(|step| step.output == written)
        .peekable();
    // The step must not read from the buffer that it writes to, and what a layer adds lies like
    // its result.
    let can_write = |step: &Draft| {
        step.work.writes_strided()
            && step.inputs.len() == 1
            && step
                .inputs
                .iter()
                .all(|&input| program.values[input].home.source != buffer)
    };
    // Under another shape nobody else may read it.
    let reads = |step: &Draft| {
        step.inputs.iter().enumerate().all(|(index, &input)| {
            ![source, written].contains(&input)
                || (written == source || step.output == copy.output)
                    && step.work.reads_strided(index)
        })
    };
    let fits =
        writers.peek().is_some() && writers.all(can_write) && program.steps.iter().all(reads);
    fits.then_some(written)
}

/// The value that fills a buffer which a copy reads: its source, or the only other one there, if both have the same rows.
fn written(program: &Program, source: ValueId) -> Option<ValueId> {
    if !program.is_shared(source) {
        return Some(source);
    }
    let value = &program.values[source];
    let home = value.home;
    let mut others = (0..program.values.len())
        .filter(|&other| other != source && program.values[other].home.source == home.source);
    let (other, None) = (others.next()?, others.next()) else {
        return None;
    };
    let own = &program.values[other];
    let same = own.home == home && (own.rows(), own.columns()) == (value.rows(), value.columns());
    let outside = [source, other]
        .iter()
        .any(|id| program.outputs.contains(id));
    (matches!(home.source, Source::Buffer(_)) && same && !outside).then_some(other)
}
