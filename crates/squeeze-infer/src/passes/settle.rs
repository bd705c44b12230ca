//! Dense copies for kernels that take rows without gaps only.

use crate::program::{Draft, Program, Work};

/// Inserts a copy before each step that cannot read a value where it lies.
pub(crate) fn settle(program: &mut Program) {
    let mut at = 0;
    while at < program.steps.len() {
        for index in 0..program.steps[at].inputs.len() {
            let input = program.steps[at].inputs[index];
            let value = &program.values[input];
            if value.is_dense() || program.steps[at].work.reads_strided(index) {
                continue;
            }
            let shape = value.shape.clone();
            let dense = program.fresh(&shape);
            let name = format!("{}.input{index}", program.steps[at].name);
            let copy = Draft {
                name,
                kind: "copy",
                work: Work::Move,
                inputs: vec![input],
                output: dense,
                macs: 0,
            };
            program.steps.insert(at, copy);
            at += 1;
            for other in &mut program.steps[at].inputs {
                if *other == input {
                    *other = dense;
                }
            }
        }
        at += 1;
    }
}
