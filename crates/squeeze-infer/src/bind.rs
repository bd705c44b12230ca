//! From a program to a plan: kernels picked, weights packed, buffers and scratch placed in one arena.

use std::sync::{Mutex, OnceLock};

use squeeze_graph::{Element, Interval, place};
use squeeze_kernels::{Slab, Threads};

use crate::kernel::Kernel;
use crate::plan::{Place, Plan, Step};
use crate::program::{Draft, Program, Source, ValueId, Work};
use crate::target::{Precision, Target};
use crate::texts::Stretch;

/// Bytes of a number.
const NUMBER: usize = 4;

/// Packed weights take at most so many times the room of the unpacked ones: three halves where a number is split into three,
/// and panels that are not full.
const SLAB: usize = 2;

/// The plan of a program whose values have their homes.
pub(crate) fn bind(mut program: Program, target: Target) -> Plan {
    let kernels = kernels(&mut program, target);
    let scratch: Vec<usize> = kernels
        .iter()
        .map(|kernel| kernel.scratch(target.threads))
        .collect();
    let mut intervals = lives(&program);
    let steps = scratch.iter().enumerate();
    intervals.extend(steps.map(|(at, &numbers)| Interval {
        bytes: numbers * NUMBER,
        first: at,
        last: at,
    }));
    let placement = place(&intervals);
    let start = |interval: usize| placement.offsets[interval] / NUMBER;
    let of = |id: ValueId| place_of(&program, id, start);
    let buffers = program.buffers.len();
    let steps = program.steps.iter().zip(kernels).enumerate();
    let steps = steps.map(|(at, (draft, kernel))| {
        let write = of(draft.output).arena();
        let mut reads: Vec<Place> = draft.inputs.iter().map(|&input| of(input)).collect();
        let in_place = reads.first().is_some_and(|read| overlaps(read, &write));
        if in_place {
            reads.remove(0);
        }
        let left_out = kernel.left_out();
        Step {
            name: draft.name.clone(),
            kind: draft.kind,
            kernel,
            macs: draft.macs - left_out,
            inputs: draft
                .inputs
                .iter()
                .map(|&input| program.values[input].shape.clone())
                .collect(),
            output: program.values[draft.output].shape.clone(),
            read_bytes: draft
                .inputs
                .iter()
                .map(|&id| program.values[id].bytes())
                .sum(),
            write_bytes: program.values[draft.output].bytes(),
            reads,
            in_place,
            is_packed: program.is_packed(draft.output),
            write,
            scratch: start(buffers + at)..start(buffers + at) + scratch[at],
        }
    });
    let steps = steps.collect();
    let outputs = program.outputs.iter();
    let outputs = outputs
        .map(|&id| (program.values[id].shape.clone(), of(id).arena()))
        .collect();
    let lengths = program.inputs.iter();
    let lengths = lengths
        .map(|input| input.element == Element::Index && input.shape.len() == 1)
        .collect();
    Plan {
        texts: program.texts,
        inputs: program.inputs,
        lengths,
        unread: program.unread,
        steps,
        outputs,
        arena: placement.bytes / NUMBER,
        target,
    }
}

/// The kernel of each step with its packed weights, picked on all of the target's threads.
fn kernels(program: &mut Program, target: Target) -> Vec<Kernel> {
    let numbers = |work: &Work| match work {
        Work::Layer(layer) => layer.weight.len(),
        Work::Band(band) => {
            let points = band.expand.iter().chain(&band.project);
            points.map(|layer| layer.weight.len()).sum()
        }
        _ => 0,
    };
    let steps = &mut program.steps;
    let unpacked: usize = steps.iter().map(|step| numbers(&step.work)).sum();
    let slab = Slab::new(SLAB * NUMBER * unpacked);
    let heads = program.heads();
    let steps = &mut program.steps;
    let take = |step: &mut Draft| Mutex::new(std::mem::replace(&mut step.work, Work::Move));
    let works: Vec<Mutex<Work>> = steps.iter_mut().map(take).collect();
    let kernels: Vec<OnceLock<Kernel>> = works.iter().map(|_| OnceLock::new()).collect();
    Threads::new(target.threads).run(works.len(), &|at| {
        // The unpacked weight goes as soon as it is packed.
        let work = works[at]
            .lock()
            .map(|mut work| std::mem::replace(&mut *work, Work::Move));
        let work = work.expect("each step is taken once");
        let step = &program.steps[at];
        let target = target_of(heads[at], target);
        let kernel = Kernel::pick(program, step, work, target, &slab);
        kernels[at].get_or_init(|| kernel);
    });
    let kernels = kernels.into_iter().map(OnceLock::into_inner);
    kernels
        .map(|kernel| kernel.expect("each step ran"))
        .collect()
}

/// What a step's kernel is picked for: heads of texts stay in single precision.
pub(crate) fn target_of(is_head: bool, target: Target) -> Target {
    match target.precision == Precision::Int8 && is_head {
        true => target.with_precision(Precision::F32),
        false => target,
    }
}

/// From which step to which each buffer holds something.
fn lives(program: &Program) -> Vec<Interval> {
    let mut lives: Vec<Interval> = program
        .buffers
        .iter()
        .map(|_| Interval {
            bytes: 0,
            first: usize::MAX,
            last: 0,
        })
        .collect();
    let mut touch = |id: ValueId, at: usize| {
        if let Source::Buffer(buffer) = program.values[id].home.source {
            let life = &mut lives[buffer];
            life.bytes = program.buffers[buffer] * NUMBER;
            life.first = life.first.min(at);
            life.last = life.last.max(at);
        }
    };
    for (at, step) in program.steps.iter().enumerate() {
        step.inputs.iter().for_each(|&input| touch(input, at));
        touch(step.output, at);
    }
    for &output in &program.outputs {
        touch(output, program.steps.len());
    }
    // A buffer that nothing touches takes no room.
    for life in &mut lives {
        life.first = life.first.min(life.last);
    }
    lives
}

fn place_of(program: &Program, id: ValueId, start: impl Fn(usize) -> usize) -> Place {
    let value = &program.values[id];
    let home = value.home;
    match home.source {
        Source::Input(at) => Place::Input(at, home.offset..home.offset + value.span()),
        Source::Positions => {
            let positions = (0..value.rows()).flat_map(|_| (0..).take(value.columns()));
            Place::Positions(positions.collect())
        }
        Source::Buffer(buffer) => {
            let numbers = |len: usize| match value.code {
                Some(_) => len.div_ceil(NUMBER),
                None => len,
            };
            let first = start(buffer) + numbers(home.offset);
            Place::Arena(Stretch {
                range: first..first + numbers(value.span()),
                rows: program
                    .is_packed(id)
                    .then(|| [home.stride, value.columns()]),
            })
        }
    }
}

fn overlaps(read: &Place, write: &Stretch) -> bool {
    let Place::Arena(read) = read else {
        return false;
    };
    read.range.start < write.range.end && write.range.start < read.range.end
}
