//! One step for the sum of word, position and segment rows.

use crate::program::{Embed, Program, ValueId, Work};

/// Joins embeddings that are only added to each other.
pub(crate) fn embed(program: &mut Program) {
    for at in (0..program.steps.len()).rev() {
        let Some(leaves) = leaves(program, at) else {
            continue;
        };
        let (mut gathers, mut repeats) = (vec![], vec![]);
        for leaf in leaves {
            match program.steps[leaf].work {
                Work::Gather { .. } => gathers.push(leaf),
                _ => repeats.push(leaf),
            }
        }
        let (1..=2, 1) = (gathers.len(), repeats.len()) else {
            continue;
        };
        let width = program.values[program.steps[at].output].columns();
        let inputs: Vec<ValueId> = gathers
            .iter()
            .map(|&leaf| program.steps[leaf].inputs[0])
            .collect();
        let mut table = |leaf: usize| match &mut program.steps[leaf].work {
            Work::Gather { table: rows } | Work::Repeat { rows } => std::mem::take(rows),
            _ => unreachable!("leaves are embeddings"),
        };
        let embed = Embed {
            word: table(gathers[0]),
            position: table(repeats[0]),
            // Without segments every token takes this row.
            segment: gathers
                .get(1)
                .map_or_else(|| vec![0.0; width], |&leaf| table(leaf)),
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
