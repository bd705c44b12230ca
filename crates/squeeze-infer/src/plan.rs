//! What runs: steps over one arena. A run allocates nothing and cannot fail.

use std::ops::Range;
use std::time::{Duration, Instant};

use squeeze_graph::Shape;
use squeeze_kernels::{Buffer, Cpu, Threads};

use crate::arena::Cut;
use crate::error::InputError;
use crate::input::{Input, InputSpec};
use crate::kernel::{Context, Kernel};
use crate::target::Target;
use crate::texts::{Rows, Stretch, Texts};
use crate::unread::Unread;

/// A network compiled for one machine: steps with packed weights and places in one arena.
///
/// Images go in and feature maps come out channels-last.
#[derive(Debug)]
pub struct Plan {
    /// The texts, where their rows are packed.
    pub(crate) texts: Option<Texts>,
    pub(crate) inputs: Vec<InputSpec>,
    /// Which inputs are lengths of texts.
    pub(crate) lengths: Vec<bool>,
    /// Tables whose rows are checked as inputs take them.
    pub(crate) unread: Vec<Unread>,
    pub(crate) steps: Vec<Step>,
    pub(crate) outputs: Vec<(Shape, Stretch)>,
    /// Size of the arena in numbers.
    pub(crate) arena: usize,
    pub(crate) target: Target,
}

/// A kernel with its weights and places.
#[derive(Debug)]
pub struct Step {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) kernel: Kernel,
    pub(crate) macs: u64,
    pub(crate) inputs: Vec<Shape>,
    pub(crate) output: Shape,
    pub(crate) read_bytes: usize,
    pub(crate) write_bytes: usize,
    pub(crate) reads: Vec<Place>,
    /// Whether the first input lies where the result goes.
    pub(crate) in_place: bool,
    /// Whether the result has a row for each token, and none for padding.
    pub(crate) is_packed: bool,
    pub(crate) write: Stretch,
    pub(crate) scratch: Range<usize>,
}

/// Where a step reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Arena(Stretch),
    Input(usize, Range<usize>),
    /// The place of each token in its text, padding included.
    Positions(Vec<i32>),
}

/// What tables show of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepInfo<'a> {
    /// Name of the node whose result it gives.
    pub name: &'a str,
    /// Operators it computes.
    pub kind: &'static str,
    /// Kernel that runs.
    pub kernel: &'static str,
    /// Multiply-adds, without those of zeros that its kernel leaves out.
    pub macs: u64,
    /// Shapes of what it reads.
    pub inputs: &'a [Shape],
    /// Shape of what it writes.
    pub output: &'a [usize],
    /// Bytes of what it reads, without weights.
    pub read_bytes: usize,
    /// Bytes of what it writes.
    pub write_bytes: usize,
    /// Bytes it works in beside inputs and output.
    pub scratch_bytes: usize,
    /// Bytes of its packed weights.
    pub weight_bytes: usize,
}

/// The memory and the threads of a run. One plan can run on many of these at once.
#[derive(Debug)]
pub struct Scratch {
    arena: Buffer,
    lengths: Vec<Vec<usize>>,
    rows: Option<Rows>,
    threads: Threads,
}

/// What a run gives, in the order of the network's outputs.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    arena: &'a [f32],
    places: &'a [(Shape, Stretch)],
}

impl Plan {
    /// The arena and the threads that a run needs.
    pub fn scratch(&self) -> Scratch {
        let count = |(spec, &is_length): (&InputSpec, &bool)| {
            vec![0; if is_length { spec.shape[0] } else { 0 }]
        };
        Scratch {
            arena: Buffer::zeros(self.arena),
            lengths: self.inputs.iter().zip(&self.lengths).map(count).collect(),
            rows: self.texts.map(|texts| Rows::new(&texts, self.inputs.len())),
            threads: Threads::new(self.target.threads),
        }
    }

    /// Whether a run can take these inputs. Of a model file loaded to run, the rows that they take are compared with their checksums here.
    ///
    /// # Errors
    /// When there are not as many of the right kind and length, an index is out of range, or its row is damaged.
    pub fn check(&self, inputs: &[Input]) -> Result<(), InputError> {
        if inputs.len() != self.inputs.len() {
            let (wanted, found) = (self.inputs.len(), inputs.len());
            return Err(InputError::Count { wanted, found });
        }
        let mut pairs = self.inputs.iter().zip(inputs);
        pairs.try_for_each(|(spec, input)| spec.check(input))?;
        self.unread
            .iter()
            .try_for_each(|table| match inputs[table.input] {
                Input::Indices(indices) => table.check(indices),
                Input::Numbers(_) => unreachable!("tables are read by indices"),
            })
    }

    /// Runs the network. Allocates nothing, does not fail. Where texts have lengths and no step sees padding, padding takes no
    /// time, and is zero in results with a row a token.
    ///
    /// # Panics
    /// When [`Plan::check`] refuses the inputs, or `scratch` is of another plan.
    pub fn run<'a>(&'a self, inputs: &[Input], scratch: &'a mut Scratch) -> Outputs<'a> {
        self.start(inputs, scratch);
        for step in &self.steps {
            self.step(step, inputs, scratch);
        }
        if let (Some(texts), Some(rows)) = (&self.texts, &scratch.rows) {
            for (shape, place) in &self.outputs {
                if texts.has_rows(shape) {
                    rows.unpack(texts, &mut scratch.arena[place.range.clone()]);
                }
            }
        }
        Outputs {
            arena: &scratch.arena,
            places: &self.outputs,
        }
    }

    /// Runs the network and shows each step's number and what it wrote, gaps between rows included.
    ///
    /// # Panics
    /// As [`Plan::run`].
    pub(crate) fn run_watched(
        &self,
        inputs: &[Input],
        scratch: &mut Scratch,
        mut watch: impl FnMut(usize, &[f32]),
    ) {
        self.start(inputs, scratch);
        for (at, step) in self.steps.iter().enumerate() {
            self.step(step, inputs, scratch);
            watch(at, &scratch.arena[step.write.range.clone()]);
        }
    }

    /// The median time of each step over so many runs, after one run that warms up.
    ///
    /// # Panics
    /// When [`Plan::check`] refuses the inputs.
    pub fn profile(&self, inputs: &[Input], runs: usize) -> Vec<Duration> {
        let mut scratch = self.scratch();
        self.run(inputs, &mut scratch);
        let mut times = vec![vec![]; self.steps.len()];
        for _ in 0..runs.max(1) {
            self.start(inputs, &mut scratch);
            for (step, times) in self.steps.iter().zip(&mut times) {
                let start = Instant::now();
                self.step(step, inputs, &mut scratch);
                times.push(start.elapsed());
            }
        }
        let median = |mut times: Vec<Duration>| {
            times.sort_unstable();
            times[times.len() / 2]
        };
        times.into_iter().map(median).collect()
    }

    /// Bytes of the arena: all working memory of a run, kernels' scratch included.
    pub fn peak_bytes(&self) -> usize {
        self.arena * size_of::<f32>()
    }

    /// Bytes of the packed weights.
    pub fn weight_bytes(&self) -> usize {
        self.steps.iter().map(|step| step.kernel.bytes()).sum()
    }

    /// What the network takes, in order.
    pub fn inputs(&self) -> &[InputSpec] {
        &self.inputs
    }

    /// Shapes of what the network gives, in order.
    pub fn outputs(&self) -> impl Iterator<Item = &[usize]> {
        self.outputs.iter().map(|(shape, _)| shape.as_slice())
    }

    /// What it was compiled for.
    pub fn target(&self) -> Target {
        self.target
    }

    /// The steps in running order.
    pub fn steps(&self) -> impl Iterator<Item = StepInfo<'_>> {
        self.steps.iter().map(|step| StepInfo {
            name: &step.name,
            kind: step.kind,
            kernel: step.kernel.name(self.target.tier),
            macs: step.macs,
            inputs: &step.inputs,
            output: &step.output,
            read_bytes: step.read_bytes,
            write_bytes: step.write_bytes,
            scratch_bytes: step.scratch.len() * size_of::<f32>(),
            weight_bytes: step.kernel.bytes(),
        })
    }

    /// Refuses foreign inputs and copies the lengths of texts.
    fn start(&self, inputs: &[Input], scratch: &mut Scratch) {
        if let Err(error) = self.check(inputs) {
            panic!("inputs must be checked before a run: {error}");
        }
        assert_eq!(scratch.arena.len(), self.arena, "scratch of another plan");
        for (input, lengths) in inputs.iter().zip(&mut scratch.lengths) {
            if let Input::Indices(values) = input {
                for (length, &value) in lengths.iter_mut().zip(*values) {
                    *length = usize::try_from(value).expect("lengths were checked");
                }
            }
        }
        if let (Some(texts), Some(rows)) = (&self.texts, &mut scratch.rows) {
            rows.fill(texts, inputs);
        }
    }

    fn step(&self, step: &Step, inputs: &[Input], scratch: &mut Scratch) {
        let rows = scratch.rows.as_ref();
        let write = step.write.used(rows.map_or(0, Rows::count));
        let cut = Cut::new(&mut scratch.arena, &write, &step.scratch);
        let context = Context {
            cpu: Cpu {
                tier: self.target.tier,
                threads: &scratch.threads,
            },
            inputs,
            lengths: &scratch.lengths,
            rows,
            is_packed: step.is_packed,
            reads: &step.reads,
            in_place: step.in_place,
        };
        step.kernel.run(&context, cut);
    }
}

impl Scratch {
    /// The arena, for tests that fill it with poison before a run.
    pub fn arena_mut(&mut self) -> &mut [f32] {
        &mut self.arena
    }
}

impl<'a> Outputs<'a> {
    /// The first output: the logits of a classifier.
    pub fn first(&self) -> &'a [f32] {
        self.at(0)
    }

    /// The output of this number, channels-last.
    ///
    /// # Panics
    /// When the network has fewer.
    pub fn at(&self, output: usize) -> &'a [f32] {
        &self.arena[self.places[output].1.range.clone()]
    }

    /// All outputs in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        let arena = self.arena;
        let places = self.places.iter();
        places.map(move |(_, place)| &arena[place.range.clone()])
    }
}

impl Place {
    /// The stretch of a place in the arena.
    pub(crate) fn arena(self) -> Stretch {
        match self {
            Self::Arena(stretch) => stretch,
            Self::Input(..) | Self::Positions(_) => unreachable!("results lie in the arena"),
        }
    }
}
