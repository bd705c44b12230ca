//! The walk backward: gradients of values in reverse order, gradients of weights added up.

use std::sync::Arc;

use squeeze_graph::NodeId;
use squeeze_kernels::activation::Activation;
use squeeze_kernels::elementwise;
use squeeze_kernels::gemm_f32::Start;

use crate::engine::Work;
use crate::ops::{self, Call, Saved};
use crate::pool::Buffer;
use crate::tape::{Kept, Tape};
use crate::{Network, Parameters};

/// Gradients of a batch beside those of the weights.
#[derive(Debug, Default)]
pub struct BatchGradients {
    /// For each slot, the gradient of each part's weight, in the order of the mixture.
    pub mixture: Vec<Vec<f32>>,
    pub(crate) inputs: Vec<Option<Arc<Buffer>>>,
}

impl BatchGradients {
    /// The gradient of one input; for networks bound with [`Inputs::Learned`](crate::Inputs).
    pub fn input(&self, index: usize) -> Option<&[f32]> {
        self.inputs.get(index)?.as_deref().map(|buffer| &buffer[..])
    }
}

/// Where the gradients of a node's inputs go.
pub(crate) struct Sink<'a> {
    work: Work<'a>,
    learns: &'a [bool],
    inputs: &'a [NodeId],
    gradients: &'a mut [Option<Arc<Buffer>>],
}

impl Sink<'_> {
    /// Whether the gradient of this input leads anywhere.
    pub(crate) fn wants(&self, input: usize) -> bool {
        self.learns[self.inputs[input].0]
    }

    /// Takes the gradient of an input.
    pub(crate) fn give(&mut self, input: usize, gradient: Arc<Buffer>) {
        if !self.wants(input) {
            return;
        }
        let place = &mut self.gradients[self.inputs[input].0];
        *place = Some(match place.take() {
            None => gradient,
            Some(there) => sum(self.work, there, gradient),
        });
    }

    /// Takes away what is known of the gradient of an input.
    pub(crate) fn take(&mut self, input: usize) -> Option<Arc<Buffer>> {
        self.gradients[self.inputs[input].0].take()
    }

    /// What is known of the gradient of an input, to be added to and given back by [`Sink::close`].
    pub(crate) fn open(&mut self, input: usize, len: usize) -> Buffer {
        match self.gradients[self.inputs[input].0].take() {
            None => self.work.pool.zeros(len),
            Some(there) => ops::own(self.work, there),
        }
    }

    /// A buffer that a product writes the gradient of an input to, or adds it to.
    pub(crate) fn target(&mut self, input: usize, len: usize) -> (Buffer, Start) {
        match self.gradients[self.inputs[input].0].take() {
            None => (self.work.pool.take(len), Start::Zero),
            Some(there) => (ops::own(self.work, there), Start::Add),
        }
    }

    /// Takes back a buffer that was opened.
    pub(crate) fn close(&mut self, input: usize, buffer: Buffer) {
        self.gradients[self.inputs[input].0] = Some(Arc::new(buffer));
    }
}

fn sum(work: Work, a: Arc<Buffer>, b: Arc<Buffer>) -> Arc<Buffer> {
    let (mut into, from) = match Arc::try_unwrap(a) {
        Ok(a) => (a, b),
        Err(a) => match Arc::try_unwrap(b) {
            Ok(b) => (b, a),
            Err(b) => (work.pool.copy(&a), b),
        },
    };
    elementwise::add_in_place(work.cpu, &from, Activation::Identity, &mut into);
    Arc::new(into)
}

/// Runs a tape backward from outside.
pub(crate) fn start(
    network: &Network,
    parameters: &mut Parameters,
    tape: Tape,
    dy: &[f32],
    work: Work,
) -> BatchGradients {
    let dy = Arc::new(work.pool.copy(dy));
    walk(network, parameters, tape, dy, work)
}

/// Runs a tape backward from the gradient of its first output.
pub(crate) fn walk(
    network: &Network,
    parameters: &mut Parameters,
    mut tape: Tape,
    dy: Arc<Buffer>,
    work: Work,
) -> BatchGradients {
    assert!(
        matches!(tape.mode, crate::Mode::Train(_)),
        "a tape of evaluation keeps nothing for backward"
    );
    assert_eq!(
        dy.len(),
        tape.output().len(),
        "one gradient an output element"
    );
    let mut result = BatchGradients {
        mixture: network.slots.iter().map(|_| vec![]).collect(),
        inputs: vec![],
    };
    let count = network.graph.nodes().len();
    let mut gradients: Vec<Option<Arc<Buffer>>> = vec![None; count];
    gradients[tape.outputs[0]] = Some(dy);
    for at in (0..count).rev() {
        let inputs = &network.inputs[at];
        if inputs.is_empty() || network.absorbed[at] {
            continue;
        }
        let Some(dy) = gradients[at].take() else {
            continue;
        };
        let call = Call::new(network, at, &tape.shapes, work);
        let saved = Saved {
            inputs: inputs.iter().map(|id| tape.values[id.0].clone()).collect(),
            output: tape.values[at].take(),
            kept: std::mem::take(&mut tape.kept[at]),
        };
        let mut sink = Sink {
            work,
            learns: &network.learns,
            inputs,
            gradients: &mut gradients,
        };
        match (network.slot_of[at], saved.kept) {
            (Some(slot), Kept::Slot(run)) => {
                let bodies = &network.slots[slot];
                result.mixture[slot] =
                    ops::slot::backward(bodies, &call, *run, &dy, &mut sink, parameters);
            }
            (_, kept) => {
                let saved = Saved { kept, ..saved };
                ops::backward(&call, saved, dy, &mut sink, parameters);
            }
        }
    }
    let inputs = network.graph.inputs();
    result.inputs = inputs.iter().map(|id| gradients[id.0].take()).collect();
    result
}
