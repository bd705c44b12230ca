//! The messages of ONNX files, as far as they are read and written (onnx.proto, IR version 10).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use bytes::Bytes;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Model {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(string, tag = "2")]
    pub producer: String,
    #[prost(string, tag = "3")]
    pub producer_version: String,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    pub opsets: Vec<Opset>,
    #[prost(message, repeated, tag = "14")]
    pub notes: Vec<Entry>,
}

/// A word under a name: of a model's metadata, or where a tensor's data lie.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Opset {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<Node>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializers: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub inputs: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub outputs: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub outputs: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op: String,
    #[prost(message, repeated, tag = "5")]
    pub attributes: Vec<Attribute>,
    #[prost(string, tag = "7")]
    pub domain: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, tag = "2")]
    pub float: f32,
    #[prost(int64, tag = "3")]
    pub int: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub text: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    pub tensor: Option<Tensor>,
    #[prost(float, repeated, tag = "7")]
    pub floats: Vec<f32>,
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    /// Which of the fields above counts.
    #[prost(int32, tag = "20")]
    pub kind: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(float, repeated, tag = "4")]
    pub floats: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    pub ints: Vec<i32>,
    #[prost(int64, repeated, tag = "7")]
    pub longs: Vec<i64>,
    #[prost(string, tag = "8")]
    pub name: String,
    /// A part of the file's bytes.
    #[prost(bytes = "bytes", tag = "9")]
    pub raw: Bytes,
    #[prost(double, repeated, tag = "10")]
    pub doubles: Vec<f64>,
    /// Which file, from where and how many bytes, when the data lie elsewhere.
    #[prost(message, repeated, tag = "13")]
    pub elsewhere: Vec<Entry>,
    #[prost(int32, tag = "14")]
    pub location: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ValueInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Kind {
    #[prost(message, optional, tag = "1")]
    pub tensor: Option<TensorKind>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorKind {
    #[prost(int32, tag = "1")]
    pub element: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Shape {
    #[prost(message, repeated, tag = "1")]
    pub dims: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Dim {
    #[prost(int64, optional, tag = "1")]
    pub value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub symbol: Option<String>,
}

impl Node {
    /// An attribute, if there is one.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|a| a.name == name)
    }

    /// A whole number, or what it is when left out.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |a| a.int)
    }

    /// A number, or what it is when left out.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).map_or(default, |a| a.float)
    }

    /// Whole numbers, if there are any.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|a| &*a.ints)
    }

    /// A word, or nothing when left out.
    pub fn text(&self, name: &str) -> &str {
        let text = self.attribute(name).map(|a| &*a.text);
        text.and_then(|text| std::str::from_utf8(text).ok())
            .unwrap_or("")
    }

    /// A tensor, if there is one.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.attribute(name).and_then(|a| a.tensor.as_ref())
    }

    /// What messages call it: operator, and its name or that of what it gives.
    pub fn label(&self) -> String {
        let output = self.outputs.first().map_or("", |name| name);
        let name = match &*self.name {
            "" => output,
            name => name,
        };
        format!("{} `{name}`", self.op)
    }
}

/// How many nodes and outputs use each value, and which node is the first to.
pub(super) fn uses(graph: &Graph) -> HashMap<&str, (usize, Option<usize>)> {
    let mut uses: HashMap<&str, (usize, Option<usize>)> = HashMap::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        for name in &node.inputs {
            let (count, first) = uses.entry(name).or_default();
            *count += 1;
            first.get_or_insert(at);
        }
    }
    for output in &graph.outputs {
        uses.entry(&output.name).or_default().0 += 1;
    }
    uses
}

/// Numbers of the nodes, each behind those whose values it takes and otherwise as they stand; or the first that none can go before.
pub(super) fn running_order(graph: &Graph) -> Result<Vec<usize>, usize> {
    let mut givers: HashMap<&str, usize> = HashMap::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        let outputs = node.outputs.iter().filter(|name| !name.is_empty());
        outputs.for_each(|name| _ = givers.entry(name).or_insert(at));
    }
    let mut takers = vec![vec![]; graph.nodes.len()];
    let mut missing = vec![0usize; graph.nodes.len()];
    for (at, node) in graph.nodes.iter().enumerate() {
        for giver in node.inputs.iter().filter_map(|name| givers.get(&**name)) {
            takers[*giver].push(at);
            missing[at] += 1;
        }
    }
    let free = (0..graph.nodes.len()).filter(|&at| missing[at] == 0);
    let mut free: BinaryHeap<Reverse<usize>> = free.map(Reverse).collect();
    let mut order = vec![];
    while let Some(Reverse(at)) = free.pop() {
        order.push(at);
        for &taker in &takers[at] {
            missing[taker] -= 1;
            if missing[taker] == 0 {
                free.push(Reverse(taker));
            }
        }
    }
    match missing.iter().position(|&count| count > 0) {
        Some(at) => Err(at),
        None => Ok(order),
    }
}
