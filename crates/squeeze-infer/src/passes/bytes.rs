//! Images stay in bytes between layers where it is known what range they need.

use squeeze_graph::ops::PoolKind;
use squeeze_kernels::Quantization;
use squeeze_kernels::conv_i8::MOST_TAPS;
use squeeze_kernels::gemm_i8::LONGEST;

use crate::program::{Draft, Layer, Program, Source, Value, ValueId, Work};
use crate::target::Target;

/// Bytes of a number, of which homes of bytes are a multiple.
const NUMBER: usize = 4;

/// Gives images their codes, and puts steps between numbers and bytes where both meet.
pub(crate) fn bytes(program: &mut Program, target: Target) {
    if !target.keeps_bytes() {
        return;
    }
    let mut buffers = Buffers::of(program);
    while program
        .steps
        .iter()
        .any(|step| buffers.settle(program, step))
    {}
    for value in &mut program.values {
        if let Source::Buffer(buffer) = value.home.source {
            value.code = buffers.code(buffer);
        }
    }
    for (buffer, len) in program.buffers.iter_mut().enumerate() {
        if buffers.code(buffer).is_some() {
            *len = len.div_ceil(NUMBER);
        }
    }
    let mut at = 0;
    while at < program.steps.len() {
        at += 1 + cast(program, at);
    }
}

/// The range of each buffer that is held in bytes.
struct Buffers(Vec<Option<[f32; 2]>>);

impl Buffers {
    /// All that hold nothing but images of a known range.
    fn of(program: &Program) -> Self {
        let mut ranges = vec![None; program.buffers.len()];
        let mut fits = vec![true; ranges.len()];
        for (id, value) in program.values.iter().enumerate() {
            let Source::Buffer(buffer) = value.home.source else {
                continue;
            };
            ranges[buffer] = union(ranges[buffer], value.range);
            fits[buffer] &= is_image(value)
                && value.home.offset.is_multiple_of(NUMBER)
                && !program.outputs.contains(&id);
        }
        let ranges = ranges.into_iter().zip(fits);
        Self(ranges.map(|(range, fits)| range.filter(|_| fits)).collect())
    }

    fn code(&self, buffer: usize) -> Option<Quantization> {
        self.0[buffer].map(|[low, high]| Quantization::of(low, high))
    }

    fn range(&self, program: &Program, id: ValueId) -> Option<[f32; 2]> {
        match program.values[id].home.source {
            Source::Buffer(buffer) => self.0[buffer],
            Source::Input(_) | Source::Positions => None,
        }
    }

    /// Makes a value numbers; whether that is new.
    fn expel(&mut self, program: &Program, id: ValueId) -> bool {
        match program.values[id].home.source {
            Source::Buffer(buffer) => self.0[buffer].take().is_some(),
            Source::Input(_) | Source::Positions => false,
        }
    }

    /// Makes all of them numbers where one is; whether that is new.
    fn tie(&mut self, program: &Program, ids: &[ValueId]) -> bool {
        let all = ids.iter().all(|&id| self.range(program, id).is_some());
        !all && ids
            .iter()
            .fold(false, |new, &id| self.expel(program, id) | new)
    }

    /// Gives all of them one range; whether that is new.
    fn unite(&mut self, program: &Program, ids: &[ValueId]) -> bool {
        let mut new = false;
        let ranges = ids.iter().map(|&id| self.range(program, id));
        let one = ranges.fold(None, union);
        for &id in ids {
            if let Source::Buffer(buffer) = program.values[id].home.source {
                new |= self.0[buffer] != one;
                self.0[buffer] = one;
            }
        }
        new
    }

    /// Makes numbers of what a step cannot have in bytes; whether that is new.
    fn settle(&mut self, program: &Program, step: &Draft) -> bool {
        let (inputs, y) = (&step.inputs, step.output);
        let ends: Vec<ValueId> = inputs[..1.min(inputs.len())]
            .iter()
            .copied()
            .chain([y])
            .collect();
        match &step.work {
            Work::Layer(layer) if layer.is_depthwise() => match inputs.len() {
                1 => self.tie(program, &ends),
                _ => self.numbers(program, inputs) | self.expel(program, y),
            },
            Work::Layer(layer) => {
                let x = &program.values[inputs[0]];
                let reads = is_image(x) && reads(layer, x);
                let mut new = !reads && self.expel(program, inputs[0]);
                let known = self.range(program, inputs[0]).or(x.range);
                if !reads || known.is_none() {
                    new |= self.expel(program, y);
                }
                if let Some(&residual) = inputs.get(1) {
                    let adds = layer.activation.limits().is_some() && layer.factors.is_none();
                    new |= match adds {
                        true => self.tie(program, &[residual, y]),
                        false => self.expel(program, residual) | self.expel(program, y),
                    };
                }
                new
            }
            Work::Pool(pool) => {
                // The largest of bytes is the byte of the largest.
                let new = self.tie(program, &ends);
                new || pool.kind == PoolKind::Max && self.unite(program, &ends)
            }
            // A resized image has the numbers of the image, or some between.
            Work::Resize(_) => self.tie(program, &ends) || self.unite(program, &ends),
            Work::Activation(_) => self.tie(program, &ends),
            Work::GlobalAverage => self.expel(program, y),
            Work::MulGate => self.expel(program, inputs[1]) | self.tie(program, &ends),
            Work::Add(activation) if activation.limits().is_some() => {
                self.tie(program, &[inputs[0], inputs[1], y])
            }
            Work::Move => {
                let all = ends.iter().all(|&id| self.range(program, id).is_some());
                all && self.unite(program, &ends)
            }
            _ => self.numbers(program, inputs),
        }
    }

    fn numbers(&mut self, program: &Program, ids: &[ValueId]) -> bool {
        ids.iter()
            .fold(false, |new, &id| self.expel(program, id) | new)
    }
}

/// Puts steps from numbers to bytes before or behind a step that needs them; how many.
fn cast(program: &mut Program, at: usize) -> usize {
    let step = &program.steps[at];
    let (y, name) = (step.output, step.name.clone());
    if program.values[y].code.is_none() {
        return 0;
    }
    let draft = |input: ValueId, output: ValueId| Draft {
        name: format!("{name}.quantize"),
        kind: "quantize",
        work: Work::Move,
        inputs: vec![input],
        output,
        macs: 0,
    };
    match &step.work {
        Work::Layer(layer) if !layer.is_depthwise() => {
            let x = step.inputs[0];
            let Some([low, high]) = program.values[x].range else {
                return 0;
            };
            if program.values[x].code.is_some() {
                return 0;
            }
            let shape = program.values[x].shape.clone();
            let of_bytes = program.fresh(&shape);
            program.values[of_bytes].code = Some(Quantization::of(low, high));
            let len = program.buffers.last_mut().expect("it is fresh");
            *len = len.div_ceil(NUMBER);
            program.steps[at].inputs[0] = of_bytes;
            program.steps.insert(at, draft(x, of_bytes));
            1
        }
        Work::Layer(_)
        | Work::Pool(_)
        | Work::Resize(_)
        | Work::Activation(_)
        | Work::MulGate
        | Work::Add(_)
        | Work::Move => 0,
        _ => {
            let shape = program.values[y].shape.clone();
            let of_numbers = program.fresh(&shape);
            program.steps[at].output = of_numbers;
            program.steps.insert(at + 1, draft(of_numbers, y));
            1
        }
    }
}

fn is_image(value: &Value) -> bool {
    value.shape.len() == 4
}

/// Whether a layer can read this image in bytes.
fn reads(layer: &Layer, x: &Value) -> bool {
    let window = &layer.window;
    let channels = x.columns() / layer.groups;
    let [kh, kw] = window.kernel;
    match window.has_one_tap() {
        true => channels.is_multiple_of(4) && channels <= LONGEST,
        false => kh * kw <= MOST_TAPS && channels * kh * kw <= LONGEST,
    }
}

fn union(a: Option<[f32; 2]>, b: Option<[f32; 2]>) -> Option<[f32; 2]> {
    match (a, b) {
        (Some([low, high]), Some(b)) => Some([low.min(b[0]), high.max(b[1])]),
        (a, b) => a.or(b),
    }
}
