//! One step for the sum of word, position and segment rows.

use squeeze_tensor::Tensor;

use crate::numbers::Table;
use crate::program::{Draft, Embed, Program, Source, ValueId, Work};

/// Joins embeddings that are only added to each other.
pub(crate) fn embed(program: &mut Program) {
    for at in (0..program.steps.len()).rev() {
        let Some(leaves) = leaves(program, at) else {
            continue;
        };
        let is_positions = |&leaf: &usize| {
            let index = program.steps[leaf].inputs[0];
            program.values[index].home.source == Source::Positions
        };
        let (positions, others): (Vec<usize>, Vec<usize>) =
            leaves.into_iter().partition(is_positions);
        let leaves = match (&others[..], &positions[..]) {
            (&[word], &[position]) => vec![word, position],
            (&[word, segment], &[position]) => vec![word, position, segment],
            _ => continue,
        };
        let width = program.values[program.steps[at].output].columns();
        let input = |&leaf: &usize| program.steps[leaf].inputs[0];
        let inputs: Vec<ValueId> = leaves.iter().map(input).collect();
        let mut tables = leaves.iter().map(|&leaf| match &program.steps[leaf].work {
            Work::Gather { table } => table.clone(),
            _ => unreachable!("leaves are embeddings"),
        });
        let mut table = || tables.next();
        let embed = Embed {
            word: table().expect("words come first"),
            position: table().expect("positions follow").in_numbers(),
            // Without segments every token takes this row.
            segment: table()
                .unwrap_or_else(|| Table::from(&Tensor::zeros(&[width])))
                .in_numbers(),
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
            Work::Gather { .. } => leaves.push(from),
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
        let removable = |work: &Work| matches!(work, Work::Add(_) | Work::Gather { .. });
        // What shares its buffer may be read under another shape, or together with what others write there.
        let stays = |step: &Draft| {
            uses[step.output] > 0 || program.is_shared(step.output) || !removable(&step.work)
        };
        let stays: Vec<bool> = program.steps.iter().map(stays).collect();
        let mut stays = stays.into_iter();
        program
            .steps
            .retain(|_| stays.next().expect("one for each step"));
        if program.steps.len() == count {
            return;
        }
    }
}
