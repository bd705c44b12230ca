//! ONNX out: a graph and its weights as a model of operator set 17, node by node.
//!
//! Values, nodes and initialisers are called as ours. A text network takes `input_ids`, `token_type_ids` and an `attention_mask` of
//! ones and zeros in the place of lengths. Batch and length stay open where the graph allows it.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use bytes::Bytes;
use prost::Message;
use squeeze_graph::{Element, Graph, Node, NodeId, Op};
use squeeze_tensor::Weights;

use super::proto;
use crate::error::Broken;
use crate::{FileError, model, write};

/// Operator set and file version that are written.
const OPSET: i64 = 17;
const IR: i64 = 8;

/// Element types of ONNX.
pub(super) const FLOAT: i32 = 1;
pub(super) const INT64: i32 = 7;
const INT8: i32 = 3;

/// The input that is a second text, made from the first.
const TARGET: &str = "target";

/// Bytes of a message that protocol buffers hold; what is more lies in a file of its own.
const MOST: usize = (1 << 31) - (1 << 20);

/// Writes a network as an ONNX file, each file whole or not at all; notes become its metadata. Weights that do not fit into 2 GB lie in
/// `NAME.data` beside it.
///
/// # Errors
/// When the weights are not those of the graph, a node cannot be expressed, or a file cannot be written.
pub fn export(
    path: &Path,
    graph: &Graph,
    weights: &Weights,
    notes: &[(String, String)],
) -> Result<(), FileError> {
    let name = path.display().to_string();
    let model = to_model(graph, weights, notes).map_err(|broken| broken.of(&name))?;
    write_within(path, model, MOST)
}

/// Writes a model whose message has at most so many bytes.
pub(super) fn write_within(
    path: &Path,
    mut model: proto::Model,
    most: usize,
) -> Result<(), FileError> {
    if model.encoded_len() <= most {
        return write(path, &model.encode_to_vec());
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".data");
    let beside = Path::new(&beside);
    let location = beside.file_name().unwrap_or_default().to_string_lossy();
    let graph = model.graph.as_mut().expect("it was made with a graph");
    let parts = apart(graph, &location);
    crate::write::write_parts(beside, &parts)?;
    write(path, &model.encode_to_vec())
}

/// Takes the large tensors' data out of a graph: pieces of one file, in which each tensor begins with a page.
fn apart(graph: &mut proto::Graph, location: &str) -> Vec<Bytes> {
    const PAGE: usize = 4096;
    let mut parts = vec![];
    let mut offset = 0;
    for tensor in &mut graph.initializers {
        if tensor.raw.len() < PAGE {
            continue;
        }
        let raw = std::mem::take(&mut tensor.raw);
        let entry = |(key, value): (&str, String)| proto::Entry {
            key: key.into(),
            value,
        };
        tensor.location = 1;
        tensor.elsewhere = [
            ("location", location.to_owned()),
            ("offset", offset.to_string()),
            ("length", raw.len().to_string()),
        ]
        .map(entry)
        .to_vec();
        let gap = raw.len().next_multiple_of(PAGE) - raw.len();
        offset += raw.len() + gap;
        parts.extend([raw, Bytes::from(vec![0; gap])]);
    }
    parts
}

/// The message of a network.
pub(super) fn to_model(
    graph: &Graph,
    weights: &Weights,
    notes: &[(String, String)],
) -> Result<proto::Model, Broken> {
    model::fits(graph, weights)?;
    let note = |(key, value): &(String, String)| proto::Entry {
        key: key.clone(),
        value: value.clone(),
    };
    Ok(proto::Model {
        ir_version: IR,
        producer: "squeeze".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(Export::new(graph, weights).graph()?),
        opsets: vec![proto::Opset {
            domain: String::new(),
            version: OPSET,
        }],
        notes: notes.iter().map(note).collect(),
    })
}

/// How a weight lies in the file.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// As it is.
    Same,
    /// Under another shape.
    Shape(Vec<usize>),
    /// A matrix with rows and columns exchanged.
    Turned,
}

/// The export in the making.
pub(super) struct Export<'a> {
    pub source: &'a Graph,
    weights: &'a Weights,
    nodes: Vec<proto::Node>,
    initializers: Vec<proto::Tensor>,
    /// What the result of each of our nodes is called.
    values: Vec<String>,
    /// Names that are in use.
    taken: HashSet<String>,
    /// Constants and values around masks, by what they are.
    made: HashMap<String, String>,
    /// Weights that are in the file.
    stored: HashMap<(String, Form), String>,
    /// The same network with another batch, another length, and another length of a second text, where that is possible.
    others: [Option<Graph>; 3],
}

impl<'a> Export<'a> {
    fn new(source: &'a Graph, weights: &'a Weights) -> Self {
        let names = source.nodes().iter().map(|node| node.name.clone());
        Self {
            source,
            weights,
            nodes: vec![],
            initializers: vec![],
            values: vec![],
            taken: names.collect(),
            made: HashMap::new(),
            stored: HashMap::new(),
            others: [
                other_batch(source),
                other_length(source, |node| node.name != TARGET),
                other_length(source, |node| node.name == TARGET),
            ],
        }
    }

    fn graph(mut self) -> Result<proto::Graph, Broken> {
        let mut inputs = vec![];
        for id in self.source.ids() {
            let node = self.source.node(id);
            let value = match &node.op {
                Op::Input(_) => {
                    let input = self.input(id)?;
                    inputs.push(input.clone());
                    input.name
                }
                _ => self.node(node)?,
            };
            self.values.push(value);
        }
        let mut outputs: Vec<proto::ValueInfo> = vec![];
        for &id in self.source.outputs() {
            let mut name = self.values[id.0].clone();
            let is_taken = |known: &proto::ValueInfo| known.name == name;
            if inputs.iter().any(is_taken) || outputs.iter().any(is_taken) {
                name = self.step("Identity", &[&name.clone()], &name, vec![]);
            }
            let element = match self.source.node(id).element {
                Element::Number => FLOAT,
                Element::Index => INT64,
            };
            outputs.push(described(name, element, self.dims(id)));
        }
        Ok(proto::Graph {
            nodes: self.nodes,
            name: self.source.name().into(),
            initializers: self.initializers,
            inputs,
            outputs,
        })
    }

    /// An input: an image or text of numbers under its own name, indices under the names that exporters of texts use.
    fn input(&mut self, id: NodeId) -> Result<proto::ValueInfo, Broken> {
        let node = self.source.node(id);
        let element = match node.element {
            Element::Number => FLOAT,
            Element::Index => INT64,
        };
        if node.element == Element::Index && node.shape.len() == 1 {
            let name = self.name("attention_mask");
            let dims = self.mask_dims(id)?;
            return Ok(described(name, element, dims));
        }
        let name = match (&*node.name, node.element) {
            ("ids", Element::Index) => self.name("input_ids"),
            ("types", Element::Index) => self.name("token_type_ids"),
            (TARGET, Element::Index) => self.name("decoder_input_ids"),
            (name, _) => name.to_owned(),
        };
        Ok(described(name, element, self.dims(id)))
    }

    /// The axes of a node's result, those that are open by name.
    pub fn dims(&self, id: NodeId) -> Vec<proto::Dim> {
        let axes = self.source.node(id).shape.iter().enumerate();
        axes.map(|(axis, &size)| {
            let changes = |other: &Option<Graph>| {
                let shape = other.as_ref().map(|other| &other.node(id).shape);
                shape.is_some_and(|shape| shape[axis] != size)
            };
            match self.others.each_ref().map(changes) {
                [true, ..] => open("batch"),
                [false, true, _] => open("length"),
                [false, false, true] => open("target_length"),
                [false, false, false] => fixed(size),
            }
        })
        .collect()
    }

    /// What a node's result is called.
    pub fn result(&self, id: NodeId) -> String {
        self.values[id.0].clone()
    }

    /// What a node's input is called.
    pub fn value(&self, node: &Node, index: usize) -> String {
        self.result(node.inputs[index])
    }

    /// Shape of a node's input.
    pub fn shape(&self, node: &Node, index: usize) -> &'a [usize] {
        &self.source.node(node.inputs[index]).shape
    }

    /// A name like this that nothing has.
    pub fn name(&mut self, like: &str) -> String {
        let mut name = like.to_owned();
        let mut count = 1;
        while !self.taken.insert(name.clone()) {
            count += 1;
            name = format!("{like}.{count}");
        }
        name
    }

    /// Adds an operator whose result is called `output`.
    pub fn emit(
        &mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attributes: Vec<proto::Attribute>,
    ) -> String {
        self.nodes.push(proto::Node {
            inputs: inputs.iter().map(|&name| name.to_owned()).collect(),
            outputs: vec![output.to_owned()],
            name: output.to_owned(),
            op: op.to_owned(),
            attributes,
            domain: String::new(),
        });
        output.to_owned()
    }

    /// Adds an operator on the way to the result of a node that is called `path`.
    pub fn step(
        &mut self,
        op: &str,
        inputs: &[&str],
        path: &str,
        attributes: Vec<proto::Attribute>,
    ) -> String {
        let output = self.name(&format!("{path}/{op}"));
        self.emit(op, inputs, &output, attributes)
    }

    /// The value that is known by this key: the one that was made for it before, or a new one.
    pub fn once(&mut self, key: String, make: impl FnOnce(&mut Self) -> String) -> String {
        if let Some(name) = self.made.get(&key) {
            return name.clone();
        }
        let name = make(self);
        self.made.insert(key, name.clone());
        name
    }

    /// Whole numbers that are known, by a name that says which.
    pub fn ints(&mut self, values: &[i64]) -> String {
        let words: Vec<String> = values.iter().map(i64::to_string).collect();
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let name = format!("ints/{}", words.join("_"));
        self.constant(name, INT64, vec![values.len() as i64], bytes)
    }

    /// A whole number that is known, without an axis.
    pub fn int(&mut self, value: i64) -> String {
        let bytes = value.to_le_bytes().to_vec();
        self.constant(format!("int/{value}"), INT64, vec![], bytes)
    }

    /// A number that is known.
    pub fn number(&mut self, value: f32) -> String {
        let bytes = value.to_le_bytes().to_vec();
        self.constant(format!("number/{value:e}"), FLOAT, vec![], bytes)
    }

    fn constant(&mut self, name: String, data_type: i32, dims: Vec<i64>, raw: Vec<u8>) -> String {
        self.once(name.clone(), |this| {
            let name = this.name(&name);
            this.initializers.push(proto::Tensor {
                dims,
                data_type,
                name: name.clone(),
                raw: raw.into(),
                ..Default::default()
            });
            name
        })
    }

    /// A node's weight in this form: a stored tensor, or bytes times their scales.
    pub fn weight(&mut self, node: &Node, suffix: &str, form: Form) -> String {
        let path = format!("{}.{suffix}", node.weights);
        let key = (path.clone(), form.clone());
        if let Some(name) = self.stored.get(&key) {
            return name.clone();
        }
        let same = self.stored.get(&(path.clone(), Form::Same)).cloned();
        if let Some(same) = same.filter(|_| form == Form::Turned) {
            // A table that is a layer too: there is one of it in the file.
            let value = self.step("Transpose", &[&same], &path, vec![ints("perm", &[1, 0])]);
            self.stored.insert(key, value.clone());
            return value;
        }
        let tensor = self.weights.get(&path).expect("weights were checked");
        let name = self.name(&path);
        let dims = |shape: &[usize]| shape.iter().map(|&size| size as i64).collect();
        let shape = match &form {
            Form::Same => tensor.shape().to_vec(),
            Form::Shape(shape) => shape.clone(),
            Form::Turned => tensor.shape().iter().rev().copied().collect(),
        };
        let (data_type, raw) = match (tensor.scaled(), &form) {
            (Some((bytes, _)), Form::Turned) => {
                let turned = turned(bytes, tensor.shape());
                (INT8, turned.iter().map(|&byte| byte as u8).collect())
            }
            (Some((bytes, _)), _) => (INT8, bytes.iter().map(|&byte| byte as u8).collect()),
            (None, Form::Turned) => {
                let turned = turned(&tensor.numbers(), tensor.shape());
                (FLOAT, numbers(&turned))
            }
            (None, _) => (FLOAT, numbers(&tensor.numbers())),
        };
        self.initializers.push(proto::Tensor {
            dims: dims(&shape),
            data_type,
            name: name.clone(),
            raw,
            ..Default::default()
        });
        let value = match tensor.scaled() {
            None => name,
            Some((_, scales)) => self.dequantized(&name, node, scales, &form),
        };
        self.stored.insert(key, value.clone());
        value
    }

    /// Bytes times the scale of their row.
    fn dequantized(&mut self, bytes: &str, node: &Node, scales: &[f32], form: &Form) -> String {
        let scale = self.name(&format!("{}.scale", node.weights));
        self.initializers.push(proto::Tensor {
            dims: vec![scales.len() as i64],
            data_type: FLOAT,
            name: scale.clone(),
            raw: numbers(scales),
            ..Default::default()
        });
        let axis = i64::from(*form == Form::Turned);
        self.step(
            "DequantizeLinear",
            &[bytes, &scale],
            bytes,
            vec![int("axis", axis)],
        )
    }
}

/// The network for another batch, when nothing in it holds its own.
fn other_batch(graph: &Graph) -> Option<Graph> {
    let first = graph.inputs().first().copied()?;
    graph.with_batch(graph.node(first).shape[0] + 1).ok()
}

/// The network for texts of another length, when all of these have one and nothing in it holds it.
fn other_length(graph: &Graph, these: impl Fn(&Node) -> bool) -> Option<Graph> {
    let inputs = graph.inputs();
    let inputs = inputs.iter().map(|&id| graph.node(id));
    let is_text =
        |node: &&Node| node.element == Element::Index && node.shape.len() == 2 && these(node);
    let mut lengths = inputs.clone().filter(is_text).map(|node| node.shape[1]);
    let length = lengths.next()?;
    if lengths.any(|other| other != length) {
        return None;
    }
    let with = |length: usize| {
        let shape = |node: &Node| match is_text(&node) {
            true => vec![node.shape[0], length],
            false => node.shape.clone(),
        };
        graph.with_inputs(&inputs.clone().map(shape).collect::<Vec<_>>())
    };
    let shorter = length.checked_sub(1).filter(|&shorter| shorter > 0);
    let shorter = shorter.and_then(|length| with(length).ok());
    shorter.or_else(|| with(length + 1).ok())
}

/// Rows and columns exchanged.
fn turned<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
    let columns = shape[1];
    let column = |at: usize| values.iter().skip(at).step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}

fn numbers(values: &[f32]) -> Bytes {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    bytes.into()
}

/// An axis of this size.
pub(super) fn fixed(size: usize) -> proto::Dim {
    proto::Dim {
        value: Some(size as i64),
        symbol: None,
    }
}

/// An axis whose size is given when the model runs.
fn open(name: &str) -> proto::Dim {
    proto::Dim {
        value: None,
        symbol: Some(name.into()),
    }
}

fn described(name: String, element: i32, dims: Vec<proto::Dim>) -> proto::ValueInfo {
    let shape = Some(proto::Shape { dims });
    let tensor = Some(proto::TensorKind { element, shape });
    proto::ValueInfo {
        name,
        kind: Some(proto::Kind { tensor }),
    }
}

/// A whole number as an attribute.
pub(super) fn int(name: &str, value: i64) -> proto::Attribute {
    proto::Attribute {
        name: name.into(),
        int: value,
        kind: 2,
        ..Default::default()
    }
}

/// A number as an attribute.
pub(super) fn float(name: &str, value: f32) -> proto::Attribute {
    proto::Attribute {
        name: name.into(),
        float: value,
        kind: 1,
        ..Default::default()
    }
}

/// Whole numbers as an attribute.
pub(super) fn ints(name: &str, values: &[usize]) -> proto::Attribute {
    proto::Attribute {
        name: name.into(),
        ints: values.iter().map(|&value| value as i64).collect(),
        kind: 7,
        ..Default::default()
    }
}

/// A word as an attribute.
pub(super) fn text(name: &str, value: &str) -> proto::Attribute {
    proto::Attribute {
        name: name.into(),
        text: value.as_bytes().to_vec(),
        kind: 3,
        ..Default::default()
    }
}
