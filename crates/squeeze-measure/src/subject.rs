//! A plan that is ready to be timed: with its scratch, and inputs drawn from a seed.

use squeeze_graph::{Element, Graph, elements};
use squeeze_infer::{
    CompileError, Input, InputError, Plan, Scratch, Target, calibrate, compile, lacks_ranges,
};
use squeeze_tensor::{Seed, Weights};

/// A compiled network with inputs to run on.
#[derive(Debug)]
pub struct Subject {
    plan: Plan,
    scratch: Scratch,
    inputs: Vec<Data>,
}

#[derive(Debug)]
enum Data {
    Numbers(Vec<f32>),
    Indices(Vec<i32>),
}

impl Data {
    fn input(&self) -> Input<'_> {
        match self {
            Self::Numbers(values) => Input::Numbers(values),
            Self::Indices(values) => Input::Indices(values),
        }
    }
}

impl Subject {
    /// Compiles a network; its inputs are normal numbers, random tokens and full lengths. Where bytes need ranges that the weights
    /// lack, they are those of these inputs: time does not depend on them.
    ///
    /// # Errors
    /// When the network cannot be compiled.
    pub fn new(graph: &Graph, weights: &Weights, target: &Target) -> Result<Self, CompileError> {
        let mut plan = compile(graph, weights, target)?;
        let inputs = random_inputs(&plan, Seed(1));
        if lacks_ranges(graph, weights, target) {
            let example = inputs.iter().map(Data::input).collect();
            let weights = calibrate(graph, weights, target, &[example])?;
            plan = compile(graph, &weights, target)?;
        }
        let scratch = plan.scratch();
        Ok(Self {
            plan,
            scratch,
            inputs,
        })
    }

    /// A network with fresh weights: time does not depend on their values.
    ///
    /// # Errors
    /// When the network cannot be compiled.
    pub fn fresh(graph: &Graph, target: &Target) -> Result<Self, CompileError> {
        Self::new(graph, &squeeze_rewrite::fresh(graph, Seed(1)), target)
    }

    /// The same with texts of these lengths, in turn, if it takes lengths.
    ///
    /// # Errors
    /// When a length is not between one token and the network's most.
    pub fn with_lengths(mut self, lengths: &[i32]) -> Result<Self, InputError> {
        for (spec, data) in self.plan.inputs().iter().zip(&mut self.inputs) {
            if let (1, Data::Indices(values)) = (spec.shape.len(), data) {
                let own = lengths.iter().cycle();
                values
                    .iter_mut()
                    .zip(own)
                    .for_each(|(to, &from)| *to = from);
            }
        }
        let inputs: Vec<Input> = self.inputs.iter().map(Data::input).collect();
        self.plan.check(&inputs)?;
        Ok(self)
    }

    /// Runs once.
    pub fn run(&mut self) {
        let inputs: Vec<Input> = self.inputs.iter().map(Data::input).collect();
        self.plan.run(&inputs, &mut self.scratch);
    }

    /// Median time of each step of the plan over `runs` runs, in milliseconds.
    pub fn step_times(&mut self, runs: usize) -> Vec<f64> {
        let inputs: Vec<Input> = self.inputs.iter().map(Data::input).collect();
        let times = self.plan.profile(&inputs, runs);
        times
            .into_iter()
            .map(|time| time.as_secs_f64() * 1e3)
            .collect()
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

fn random_inputs(plan: &Plan, seed: Seed) -> Vec<Data> {
    let mut random = seed.random();
    let mut draw = |spec: &squeeze_infer::InputSpec| {
        let count = elements(&spec.shape);
        let (least, most) = spec.range;
        match spec.element {
            Element::Number => Data::Numbers((0..count).map(|_| random.normal()).collect()),
            // Lengths are one number an example: all the room there is.
            Element::Index if spec.shape.len() == 1 => Data::Indices(vec![most; count]),
            Element::Index => {
                let choices = usize::try_from(most.saturating_sub(least)).unwrap_or(0) + 1;
                Data::Indices(
                    (0..count)
                        .map(|_| least + random.below(choices) as i32)
                        .collect(),
                )
            }
        }
    };
    plan.inputs().iter().map(&mut draw).collect()
}
