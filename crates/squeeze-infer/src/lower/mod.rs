//! From a graph to a program: one step a node, weights where the file has them, views where memory allows.

mod class_token;
mod layers;
mod rearrange;

use squeeze_graph::ops::Activation as Name;
use squeeze_graph::{Element, Graph, Node, NodeId, Op, RANGE};
use squeeze_kernels::activation::Activation;
use squeeze_tensor::{Tensor, Weights};

use crate::error::CompileError;
use crate::input::InputSpec;
use crate::program::{Draft, Home, Program, Sides, Source, ValueId, Work};
use crate::texts::Texts;

/// The program of a network whose weights were checked.
pub(crate) fn lower(
    graph: &Graph,
    weights: &Weights,
    texts: Option<Texts>,
) -> Result<Program, CompileError> {
    let mut lowering = Lowering {
        graph,
        weights,
        program: Program {
            texts,
            inputs: vec![],
            values: vec![],
            steps: vec![],
            outputs: vec![],
            buffers: vec![],
            unread: vec![],
        },
        places: vec![],
    };
    for node in graph.nodes() {
        let place = lowering.node(node)?;
        if let Place::Value(value) = place {
            lowering.program.values[value].range = range(weights, node);
        }
        lowering.places.push(place);
    }
    for &id in graph.outputs() {
        let place = lowering.number(id, graph.node(id))?;
        let output = lowering.fresh_output(place, &graph.node(id).name);
        lowering.program.outputs.push(output);
    }
    Ok(lowering.program)
}

/// What became of a node.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// A value of the program.
    Value(ValueId),
    /// Positions counted from a first one: no memory holds them.
    Positions { first: usize },
}

struct Lowering<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    program: Program,
    places: Vec<Place>,
}

impl Lowering<'_> {
    fn node(&mut self, node: &Node) -> Result<Place, CompileError> {
        if let Op::Position(row) = &node.op {
            return Ok(Place::Positions { first: row.first });
        }
        if let Op::Embedding(row) = &node.op {
            return self.embedding(node, row);
        }
        let mut inputs = vec![];
        for &id in &node.inputs {
            inputs.push(self.number(id, node)?);
        }
        let simple = |work| Some((work, inputs.clone()));
        let draft = match &node.op {
            Op::Input(_) => return Ok(Place::Value(self.input(node))),
            Op::Conv2d(row) => simple(self.conv2d(node, row, inputs[0])),
            Op::Conv1d(row) => {
                let x = self.inside(node, row, &inputs);
                Some((self.conv1d(node, row, x), vec![x]))
            }
            Op::Linear(row) => simple(self.linear(node, row, inputs[0])),
            Op::BatchNorm(row) => simple(self.batch_norm(node, row)),
            Op::NoNorm(_) => simple(self.no_norm(node)),
            Op::LayerNorm(row) => simple(self.layer_norm(node, row)),
            Op::Activation(row) => simple(Work::Activation(activation(row.kind))),
            Op::Pool(row) => simple(Work::Pool(row.clone())),
            Op::GlobalAverage(_) => simple(Work::GlobalAverage),
            Op::TokenMax(_) | Op::TokenMean(_) => {
                let tokens = self.graph.input_shapes(node)[0][1];
                self.limit(inputs[1], 1, tokens);
                simple(match node.op {
                    Op::TokenMax(_) => Work::TokenMax,
                    _ => Work::TokenMean,
                })
            }
            Op::Mul(_) if self.is_gate(inputs[0], inputs[1]) => simple(Work::MulGate),
            Op::Mul(_) => simple(Work::Mul),
            Op::Scale(row) => simple(self.scale(node, row)),
            Op::Attention(row) => {
                self.check_attention(node)?;
                if let Some(&lengths) = inputs.get(3) {
                    let keys = self.graph.input_shapes(node)[1][1];
                    self.limit(lengths, 1, keys);
                }
                simple(Work::Attention(row.clone(), Sides::Apart))
            }
            Op::Softmax(_) => simple(Work::Softmax),
            Op::Resize(row) => Some((Work::Resize(row.mode), vec![inputs[0]])),
            Op::ChannelShuffle(row) => simple(Work::Shuffle { groups: row.groups }),
            Op::Dropout(_) => return Ok(Place::Value(inputs[0])),
            Op::Add(_) => return Ok(Place::Value(self.add(node, &inputs))),
            Op::ClassToken(row) => return Ok(Place::Value(self.class_token(node, row, inputs[0]))),
            Op::Concat(row) => return Ok(Place::Value(self.concat(node, row.axis, &inputs))),
            Op::Reshape(_) => return Ok(Place::Value(self.reshape(node, inputs[0]))),
            Op::Slice(row) => return Ok(Place::Value(self.slice(node, row, inputs[0]))),
            Op::Select(row) => return Ok(Place::Value(self.select(node, row, inputs[0]))),
            Op::Transpose(row) if self.is_view(row, NodeId(self.places.len())) => {
                return Ok(Place::Value(inputs[0]));
            }
            Op::Transpose(row) => {
                return Ok(Place::Value(self.transpose(node, &row.order, inputs[0])?));
            }
            Op::Embedding(_) | Op::Position(_) => unreachable!("handled above"),
            Op::Slot(_) => {
                return Err(refuse(node, "the slot is open: resolve the space first"));
            }
        };
        let (work, inputs) = draft.expect("every other operator returned");
        Ok(Place::Value(self.step(node, work, &inputs)))
    }

    /// A step whose result is the node's, in a buffer of its own.
    fn step(&mut self, node: &Node, work: Work, inputs: &[ValueId]) -> ValueId {
        let output = self.program.fresh(&node.shape);
        self.step_to(node, work, inputs, output);
        output
    }

    /// A step of a node that writes a given value.
    fn step_to(&mut self, node: &Node, work: Work, inputs: &[ValueId], output: ValueId) {
        self.program.steps.push(Draft {
            name: node.name.clone(),
            kind: node.op.name(),
            work,
            inputs: inputs.to_vec(),
            output,
            macs: self.graph.cost_of(node).macs,
        });
    }

    fn input(&mut self, node: &Node) -> ValueId {
        self.program.inputs.push(InputSpec {
            name: node.name.clone(),
            shape: node.shape.clone(),
            element: node.element,
            range: (i32::MIN, i32::MAX),
        });
        let home = Home {
            source: Source::Input(self.program.inputs.len() - 1),
            offset: 0,
            stride: node.shape[squeeze_graph::channel_axis(&node.shape)],
        };
        let value = self.program.value(&node.shape, home);
        match self.program.texts {
            Some(texts) if node.shape.len() == 1 => self.limit(value, 1, texts.tokens),
            _ => {}
        }
        value
    }

    /// The value of an input of `user`.
    fn number(&self, id: NodeId, user: &Node) -> Result<ValueId, CompileError> {
        match self.places[id.0] {
            Place::Value(value) => Ok(value),
            Place::Positions { .. } => Err(refuse(user, "positions are taken by embeddings alone")),
        }
    }

    /// The outputs of a network are dense and in the arena.
    fn fresh_output(&mut self, place: ValueId, name: &str) -> ValueId {
        let value = &self.program.values[place];
        let whole = matches!(value.home.source, Source::Buffer(_))
            && value.is_dense()
            && !self.program.outputs.contains(&place);
        if whole {
            return place;
        }
        let shape = value.shape.clone();
        let output = self.program.fresh(&shape);
        self.program.steps.push(Draft {
            name: format!("{name}.output"),
            kind: "copy",
            work: Work::Move,
            inputs: vec![place],
            output,
            macs: 0,
        });
        output
    }

    fn add(&mut self, node: &Node, inputs: &[ValueId]) -> ValueId {
        let mut sum = inputs[0];
        for &other in &inputs[1..] {
            let work = if self.is_gate(sum, other) {
                Work::AddGate
            } else {
                Work::Add(Activation::Identity)
            };
            sum = self.step(node, work, &[sum, other]);
        }
        sum
    }

    fn is_gate(&self, x: ValueId, other: ValueId) -> bool {
        self.program.values[x].shape != self.program.values[other].shape
    }

    fn check_attention(&self, node: &Node) -> Result<(), CompileError> {
        let shapes = self.graph.input_shapes(node);
        if shapes[1] != shapes[2] {
            let reason = format!(
                "keys {:?} and values {:?} must be of one shape",
                shapes[1], shapes[2]
            );
            return Err(refuse(node, &reason));
        }
        Ok(())
    }

    /// Narrows what an index input may hold.
    fn limit(&mut self, value: ValueId, least: usize, most: usize) {
        if let Source::Input(at) = self.program.values[value].home.source {
            let spec = &mut self.program.inputs[at];
            debug_assert_eq!(spec.element, Element::Index);
            let bound = |size: usize| i32::try_from(size).unwrap_or(i32::MAX);
            spec.range.0 = spec.range.0.max(bound(least));
            spec.range.1 = spec.range.1.min(bound(most));
        }
    }

    /// A weight of a node.
    fn weight(&self, node: &Node, suffix: &str) -> &Tensor {
        let name = format!("{}.{suffix}", node.weights);
        self.weights.get(&name).expect("weights were checked")
    }

    /// A copy of a small weight of a node as `f32`.
    fn floats(&self, node: &Node, suffix: &str) -> Vec<f32> {
        self.weight(node, suffix).floats()
    }
}

/// The range of a node's result, if the weights have one.
fn range(weights: &Weights, node: &Node) -> Option<[f32; 2]> {
    let tensor = weights.get(&format!("{}{RANGE}", node.name))?;
    let range = <[f32; 2]>::try_from(tensor.floats()).ok()?;
    let [low, high] = range;
    (low <= high && low.is_finite() && high.is_finite()).then_some(range)
}

fn refuse(node: &Node, reason: &str) -> CompileError {
    CompileError::Node {
        node: node.name.clone(),
        op: node.op.name(),
        reason: reason.into(),
    }
}

/// The kernels' name of an activation.
fn activation(name: Name) -> Activation {
    match name {
        Name::Relu => Activation::Relu,
        Name::Relu6 => Activation::Relu6,
        Name::Gelu => Activation::Gelu,
        Name::GeluTanh => Activation::GeluTanh,
        Name::Silu => Activation::Silu,
        Name::HardSwish => Activation::HardSwish,
        Name::HardSigmoid => Activation::HardSigmoid,
        Name::Sigmoid => Activation::Sigmoid,
        Name::Tanh => Activation::Tanh,
    }
}
