//! One step for the sum of word, position and segment rows.

use crate::program::{Embed, Program, ValueId, Work};

/// Joins embeddings that are only added to each other.
pub(crate) fn embed(program: &mut Program) {
    for at in (0..program.steps.len()).rev() {
        let Some(leaves) = leaves(program, at) else {
            continue;
        };
        let (mut word, mut position, mut segment) = (None, None, None);
        for &leaf in &leaves {
            match &program.steps[leaf].work {
                Work::Repeat { rows } if position.is_none() => position = Some(rows.clone()),
                Work::Gather { table } if word.is_none() => {
                    word = Some((table.clone(), program.steps[leaf].inputs[0]));
                }
                Work::Gather { table } if segment.is_none() => {
                    segment = Some((table.clone(), program.steps[leaf].inputs[0]));
                }
                _ => position = None,
            }
        }
        let (Some((word, ids)), Some(position)) = (word, position) else {
            continue;
        };
        if leaves.len() != 2 + usize::from(segment.is_some()) {
            continue;
        }
        let width = program.values[program.steps[at].output].columns();
        let mut inputs = vec![ids];
        let segment = segment.map(|(table, types)| {
            inputs.push(types);
            table
        });
        let embed = Embed {
            word,
            position,
            // Without segments every token takes this row.
            segment: segment.unwrap_or_else(|| vec![0.0; width]),
        };
        let step = &mut program.steps[at];
        step.work = Work::Embed(embed);
        step.kind = "embedding";
        step.inputs = inputs;
    }
    remove_unread(program);
}

/// The steps whose results a sum adds up, through sums that only it reads.
fn leaves(program: &Program, at: usize) -> Option<Vec<usize>> {
    let uses = program.uses();
    let sum = &program.steps[at];
    // A sum inside of one that was joined before is read no more.
    if !matches!(sum.work, Work::Add(_)) || uses[sum.output] == 0 {
        return None;
    }
    let mut open: Vec<ValueId> = program.steps[at].inputs.clone();
    let mut leaves = vec![];
    while let Some(value) = open.pop() {
        let from = program.steps.iter().position(|step| step.output == value)?;
        match &program.steps[from].work {
            _ if uses[value] != 1 => return None,
            Work::Add(_) => open.extend(&program.steps[from].inputs),
            Work::Gather { .. } | Work::Repeat { .. } => leaves.push(from),
            _ => return None,
        }
    }
    leaves.sort_unstable();
    Some(leaves)
}

/// Removes steps whose results nobody reads any more.
fn remove_unread(program: &mut Program) {
    loop {
        let uses = program.uses();
        let count = program.steps.len();
        let removable = |work: &Work| {
            matches!(
                work,
                Work::Add(_) | Work::Gather { .. } | Work::Repeat { .. }
            )
        };
        program
            .steps
            .retain(|step| uses[step.output] > 0 || !removable(&step.work));
        if program.steps.len() == count {
            return;
        }
    }
}
