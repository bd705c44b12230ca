//! Walks an ONNX graph in its order and adds our nodes.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use squeeze_graph::{Builder, Element, Graph, NodeId, Op};
use squeeze_tensor::{Tensor, Weights};

use super::array::{self, Array};
use super::attention::Scores;
use super::fold::fold;
use super::proto;
use crate::error::Broken;
use crate::view::View;

/// What an ONNX value is to us.
#[derive(Clone)]
pub(super) enum Value {
    /// Known numbers.
    Known(Array),
    /// Known for two sample masks.
    Mask(Mask),
    /// A node's result.
    Node(View),
    /// Attention in the making.
    Scores(Scores),
    /// The error function of a node's result, to become GELU; `true` once 1 was added.
    Erf(View, bool),
    /// A text moved so many tokens forward, with zeros where nothing comes from.
    Shifted(View, i64),
    /// A text beside itself moved by these numbers of tokens, along the channels.
    Window(View, Vec<i64>),
    /// False everywhere: whether a softmax is not a number.
    Never,
}

/// A value computed from the mask: for texts that fill all places, and for texts of which every second one fills half of them.
#[derive(Clone)]
pub(super) struct Mask {
    pub whole: Array,
    pub half: Array,
}

/// The import in the making.
pub(super) struct Import<'a> {
    pub b: Builder,
    pub weights: Weights,
    pub values: HashMap<&'a str, Value>,
    pub stored: HashMap<&'a str, &'a proto::Tensor>,
    pub graph: &'a proto::Graph,
    pub ids: Option<NodeId>,
    pub lengths: Option<NodeId>,
    /// Tokens of a text.
    pub length: usize,
    names: HashMap<String, usize>,
}

/// Reads a file's bytes.
pub(super) fn from_bytes(bytes: Bytes, name: &str) -> Result<(Graph, Weights), Broken> {
    let model = proto::Model::decode(bytes)
        .map_err(|error| Broken::new(format!("no ONNX file, or damaged: {error}")))?;
    let known = model.opsets.iter().find(|set| set.domain.is_empty());
    if let Some(set) = known.filter(|set| !(11..=26).contains(&set.version)) {
        let version = set.version;
        return Err(Broken::new(format!(
            "operator set {version}, 11 to 26 are read: export with opset_version=20"
        )));
    }
    let graph = model.graph.as_ref();
    let graph = graph.ok_or_else(|| Broken::new("no ONNX file: there is no graph in it"))?;
    let stored = graph.initializers.iter().map(|t| (&*t.name, t)).collect();
    let mut import = Import {
        b: Builder::new(name),
        weights: Weights::default(),
        values: HashMap::new(),
        stored,
        graph,
        ids: None,
        lengths: None,
        length: 0,
        names: HashMap::new(),
    };
    import.inputs()?;
    for node in &graph.nodes {
        import.node(node)?;
    }
    let mut outputs = vec![];
    for output in &graph.outputs {
        let label = format!("output `{}`", output.name);
        outputs.push(match import.values.get(&*output.name) {
            Some(Value::Node(view)) => import.materialize(&label, &view.clone())?,
            _ => return Err(Broken::new(format!("{label} is not the result of a layer"))),
        });
    }
    let graph = import.b.finish(&outputs);
    let graph = graph.map_err(|error| Broken::new(error.to_string()))?;
    Ok((graph, import.weights))
}

impl<'a> Import<'a> {
    /// Adds our inputs, in our order.
    fn inputs(&mut self) -> Result<(), Broken> {
        let mut texts = [const { None }; 3];
        for input in &self.graph.inputs {
            if self.stored.contains_key(&*input.name) {
                continue;
            }
            let (element, shape) = described(input)?;
            let name = input.name.to_lowercase();
            match (element, &*shape) {
                (1, [_, _, _, _]) => {
                    let id = self.add_input("image", &shape, Element::Number)?;
                    let view = View::plain(id, &shape);
                    self.values.insert(&input.name, Value::Node(view));
                }
                (6 | 7 | 9, [_, _]) => {
                    let role = match () {
                        () if name.contains("mask") => 2,
                        () if name.contains("type") || name.contains("segment") => 1,
                        () => 0,
                    };
                    if let Some((_, _, other)) = texts[role].replace((input, shape, &input.name)) {
                        return Err(Broken::new(format!(
                            "inputs `{other}` and `{}` play the same part: name them input_ids, \
                             token_type_ids and attention_mask",
                            input.name
                        )));
                    }
                }
                _ => {
                    return Err(Broken::new(format!(
                        "input `{}` of element type {element} and shape {shape:?}: an image \
                         [n, c, h, w] of float32 or indices [n, s] of int64 are read",
                        input.name
                    )));
                }
            }
        }
        let [ids, types, mask] = texts;
        for (role, text) in [("ids", ids), ("types", types)] {
            let Some((input, shape, _)) = text else {
                continue;
            };
            let id = self.add_input(role, &shape, Element::Index)?;
            let view = View::plain(id, &shape);
            self.values.insert(&input.name, Value::Node(view));
            if role == "ids" {
                (self.ids, self.length) = (Some(id), shape[1]);
            }
        }
        if let Some((input, shape, _)) = mask {
            self.lengths = Some(self.add_input("lengths", &shape[..1], Element::Index)?);
            self.length = shape[1];
            let mask = Mask {
                whole: Array::filled(shape.clone(), 1.0),
                half: Array::from_places(shape, |place| {
                    f64::from(u8::from(place[1] < self.half_length(place[0])))
                }),
            };
            self.values.insert(&input.name, Value::Mask(mask));
        }
        Ok(())
    }

    /// How long a text is where every second one, the first among them, fills half of its places.
    pub fn half_length(&self, text: usize) -> usize {
        match text % 2 {
            0 => self.length.div_ceil(2),
            _ => self.length,
        }
    }

    fn add_input(
        &mut self,
        name: &str,
        shape: &[usize],
        element: Element,
    ) -> Result<NodeId, Broken> {
        let id = self.b.input(name, shape, element);
        id.map_err(|error| Broken::new(error.to_string()))
    }

    /// Translates one node.
    fn node(&mut self, node: &'a proto::Node) -> Result<(), Broken> {
        if !matches!(&*node.domain, "" | "ai.onnx") {
            return Err(Broken::new(format!(
                "{} of domain `{}` is an operator that is not read",
                node.label(),
                node.domain
            )));
        }
        let Some(output) = node.outputs.first() else {
            return Err(Broken::new(format!("{} gives nothing", node.label())));
        };
        if self.values.contains_key(&**output) {
            // Was taken into an earlier node.
            return Ok(());
        }
        let value = match self.computed(node)? {
            Some(value) => value,
            None => self.layer(node)?,
        };
        self.values.insert(output, value);
        Ok(())
    }

    /// The value of a node that depends on no number that the user puts in but the mask.
    fn computed(&mut self, node: &proto::Node) -> Result<Option<Value>, Broken> {
        if node.op == "Constant" {
            return Ok(Some(Value::Known(constant(node)?)));
        }
        if node.op == "Shape"
            && let Some(shape) = node.inputs.first().and_then(|name| self.shape(name))
        {
            let ends = [node.int("start", 0), node.int("end", i64::MAX)];
            let clamp = |end: i64| {
                let rank = shape.len() as i64;
                (if end < 0 { end + rank } else { end }).clamp(0, rank) as usize
            };
            let [start, end] = ends.map(clamp);
            return Ok(Some(Value::Known(Array::row(
                &shape[start..end.max(start)],
            ))));
        }
        let table = node
            .inputs
            .first()
            .and_then(|name| self.stored.get(&**name));
        if node.op == "Gather" && table.is_some_and(|t| t.dims.len() == 2 && t.data_type != 7) {
            // An embedding, even where the indices are known.
            return Ok(None);
        }
        let mut inputs = vec![];
        // What a value is cast like does not matter.
        let count = if node.op == "CastLike" {
            1
        } else {
            node.inputs.len()
        };
        for name in node.inputs.iter().take(count) {
            inputs.push(match self.values.get(&**name) {
                Some(Value::Known(array)) => (array.clone(), array.clone()),
                Some(Value::Mask(mask)) => (mask.whole.clone(), mask.half.clone()),
                Some(_) => return Ok(None),
                None => match self.array(name)? {
                    Some(array) => (array.clone(), array),
                    None => return Ok(None),
                },
            });
        }
        if inputs.is_empty() {
            return Ok(None);
        }
        let masked = |name: &String| matches!(self.values.get(&**name), Some(Value::Mask(_)));
        let masked = node.inputs.iter().any(masked);
        let whole: Vec<&Array> = inputs.iter().map(|(whole, _)| whole).collect();
        let Some(whole) = fold(node, &whole)? else {
            return Ok(None);
        };
        if !masked {
            return Ok(Some(Value::Known(whole)));
        }
        let half: Vec<&Array> = inputs.iter().map(|(_, half)| half).collect();
        let half = fold(node, &half)?;
        Ok(half.map(|half| Value::Mask(Mask { whole, half })))
    }

    /// Shape of a layer's result or a stored tensor.
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        match self.values.get(name) {
            Some(Value::Node(view)) => Some(view.shape()),
            Some(_) => None,
            None => {
                let dims = self.stored.get(name)?.dims.iter();
                dims.map(|&dim| usize::try_from(dim).ok()).collect()
            }
        }
    }

    /// A stored or computed array of moderate size.
    pub fn array(&self, name: &str) -> Result<Option<Array>, Broken> {
        const MOST: usize = 1 << 22;
        if let Some(Value::Known(array)) = self.values.get(name) {
            return Ok(Some(array.clone()));
        }
        match self.stored.get(name) {
            Some(message) if message.raw.len() <= MOST => {
                Ok(Some(Array::from(&array::tensor(message)?)))
            }
            _ => Ok(None),
        }
    }

    /// A number known beforehand.
    pub fn scalar(&self, name: &str) -> Result<Option<f64>, Broken> {
        Ok(self.array(name)?.and_then(|array| array.scalar()))
    }

    /// A stored tensor in single precision.
    pub fn stored(&self, name: &str) -> Result<Option<Tensor>, Broken> {
        match self.stored.get(name) {
            Some(message) => Ok(Some(array::single(array::tensor(message)?))),
            None => Ok(None),
        }
    }

    /// The value that a node takes.
    pub fn value(&self, node: &proto::Node, index: usize) -> Result<Value, Broken> {
        let missing = || Broken::new(format!("{}: input {index} is missing", node.label()));
        let name = node.inputs.get(index).ok_or_else(missing)?;
        match self.values.get(&**name) {
            Some(value) => Ok(value.clone()),
            None => match self.array(name)? {
                Some(array) => Ok(Value::Known(array)),
                None => Err(Broken::new(format!(
                    "{}: nothing gives its input `{name}`",
                    node.label()
                ))),
            },
        }
    }

    /// The node's result that a node takes, times 1.
    pub fn view(&self, node: &proto::Node, index: usize) -> Result<View, Broken> {
        match self.value(node, index)? {
            Value::Node(view) if view.factor == 1.0 => Ok(view),
            Value::Node(view) => Err(Broken::new(format!(
                "{}: its input {index} is multiplied by {}, which is read only around attention \
                 and GELU",
                node.label(),
                view.factor
            ))),
            Value::Known(_)
            | Value::Mask(_)
            | Value::Scores(_)
            | Value::Erf(..)
            | Value::Shifted(..)
            | Value::Window(..)
            | Value::Never => Err(Broken::new(format!(
                "{}: its input {index} is not the result of a layer",
                node.label()
            ))),
        }
    }

    /// Adds one of our nodes under a name like `name`, with its weights.
    pub fn add(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: &[NodeId],
        weights: Vec<(&str, Tensor)>,
    ) -> Result<NodeId, Broken> {
        let count = self.names.entry(name.to_owned()).or_default();
        *count += 1;
        let name = match *count {
            1 => name.to_owned(),
            count => format!("{name}.{count}"),
        };
        let id = self.b.add(name.clone(), op, inputs);
        let id = id.map_err(|error| Broken::new(error.to_string()))?;
        for (suffix, tensor) in weights {
            self.weights.insert(format!("{name}.{suffix}"), tensor);
        }
        Ok(id)
    }

    /// A node whose axes are those of the view.
    pub fn materialize(&mut self, label: &str, view: &View) -> Result<NodeId, Broken> {
        use squeeze_graph::ops::{Reshape, Transpose};
        let shape = self.b.shape(view.node).to_vec();
        if view.factor != 1.0 {
            let factor = view.factor;
            return Err(Broken::new(format!(
                "{label} is multiplied by {factor}, which is not read"
            )));
        }
        if let Some(order) = view.order(&shape) {
            if order.iter().copied().eq(0..shape.len()) {
                return Ok(view.node);
            }
            return self.add(
                &format!("{label}.transpose"),
                Transpose { order },
                &[view.node],
                vec![],
            );
        }
        let sizes = view.shape();
        if view.is_in_order(&shape) && sizes.first() == shape.first() {
            let rest = sizes.iter().skip(1).map(|&size| size as i64);
            let dims = std::iter::once(0).chain(rest).collect();
            return self.add(
                &format!("{label}.reshape"),
                Reshape { dims },
                &[view.node],
                vec![],
            );
        }
        Err(Broken::new(format!(
            "{label}: {sizes:?} made from {shape:?} is a rearrangement that is not read"
        )))
    }
}

/// What a constant node holds.
fn constant(node: &proto::Node) -> Result<Array, Broken> {
    if let Some(tensor) = node.tensor("value") {
        return Ok(Array::from(&array::tensor(tensor)?));
    }
    if let Some(values) = node.ints("value_ints") {
        return Ok(Array {
            shape: vec![values.len()],
            data: values.iter().map(|&value| value as f64).collect(),
        });
    }
    let int = node.attribute("value_int").map(|a| a.int as f64);
    let float = node.attribute("value_float").map(|a| f64::from(a.float));
    match int.or(float) {
        Some(value) => Ok(Array::filled(vec![], value)),
        None => Err(Broken::new(format!(
            "{}: a constant of this kind is not read",
            node.label()
        ))),
    }
}

/// Element type and shape of an input; a batch without a number is 1.
fn described(input: &proto::ValueInfo) -> Result<(i32, Vec<usize>), Broken> {
    let tensor = input.kind.as_ref().and_then(|kind| kind.tensor.as_ref());
    let wrong = |what: &str| {
        Broken::new(format!(
            "input `{}`: {what}: export with fixed shapes",
            input.name
        ))
    };
    let tensor = tensor.ok_or_else(|| wrong("no tensor"))?;
    let shape = tensor.shape.as_ref().ok_or_else(|| wrong("no shape"))?;
    let mut sizes = vec![];
    for (axis, dim) in shape.dims.iter().enumerate() {
        sizes.push(match dim.value {
            Some(size) if size > 0 => {
                usize::try_from(size).map_err(|_| wrong("an axis is too long"))?
            }
            _ if axis == 0 => 1,
            _ => return Err(wrong("an axis has no size")),
        });
    }
    Ok((tensor.element, sizes))
}
