//! Walks an ONNX graph in its order and adds our nodes.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use prost::Message;
use squeeze_graph::ops::Scale;
use squeeze_graph::{Builder, Element, Graph, Node, NodeId, Op, channel_axis};
use squeeze_tensor::{Tensor, Weights};

use super::array::{Array, MOST_AXES};
use super::proto::{self, running_order, uses};
use super::stored::{Stored, bring_in};
use super::value::{Mask, Value};
use super::weigh::weigh;
use crate::error::Broken;
use crate::view::{Atom, View};

/// Sizes of inputs that a file leaves open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Tokens of a text.
    pub length: Option<usize>,
    /// Height and width of an image.
    pub image: Option<[usize; 2]>,
}

/// The import in the making.
pub(super) struct Import<'a> {
    pub b: Builder,
    pub weights: Weights,
    pub values: HashMap<&'a str, Value>,
    pub stored: Stored<'a>,
    pub graph: &'a proto::Graph,
    /// Operator set.
    pub opset: i64,
    pub ids: Option<NodeId>,
    pub lengths: Option<NodeId>,
    /// A second text, which is made from the first.
    pub target: Option<NodeId>,
    /// Tokens of a text.
    pub length: usize,
    names: HashMap<String, usize>,
    /// How often each value is used, and by which node first.
    uses: HashMap<&'a str, (usize, Option<usize>)>,
    /// Results under axes that they were brought to.
    made: HashMap<(NodeId, Vec<Vec<Atom>>), NodeId>,
    /// Results that are multiplied, by the bits of the factor.
    scaled: HashMap<(NodeId, u64), NodeId>,
    /// Nodes by operator and the tensors that they have as weights.
    owners: HashMap<String, String>,
    /// Bytes of weights that may still be made.
    left: usize,
}

/// Reads a file's bytes; what lies in other files lies in `folder`.
pub(super) fn from_bytes(
    bytes: Bytes,
    name: &str,
    folder: Option<&Path>,
    sizes: &Sizes,
) -> Result<(Graph, Weights), Broken> {
    let mut size = bytes.len();
    weigh(&bytes)?;
    let mut model = proto::Model::decode(bytes)
        .map_err(|error| Broken::new(format!("no ONNX file, or damaged: {error}")))?;
    let known = model.opsets.iter().find(|set| set.domain.is_empty());
    if let Some(set) = known.filter(|set| !(11..=26).contains(&set.version)) {
        let version = set.version;
        return Err(Broken::new(format!(
            "operator set {version}, 11 to 26 are read: export with opset_version=20"
        )));
    }
    let opset = known.map_or(0, |set| set.version);
    let graph = model.graph.as_mut();
    let graph = graph.ok_or_else(|| Broken::new("no ONNX file: there is no graph in it"))?;
    if let Some(folder) = folder {
        size += bring_in(graph, folder)?;
    }
    let graph = &*graph;
    let mut import = Import {
        b: Builder::new(name),
        weights: Weights::default(),
        values: HashMap::new(),
        stored: Stored::new(graph),
        graph,
        opset,
        ids: None,
        lengths: None,
        target: None,
        length: 0,
        names: HashMap::new(),
        uses: uses(graph),
        made: HashMap::new(),
        scaled: HashMap::new(),
        owners: HashMap::new(),
        // Half precision doubles, bytes become four times as much; the rest is for small things that are made.
        left: 5 * size + (64 << 20),
    };
    import.inputs(sizes)?;
    let order = running_order(graph).map_err(|at| {
        Broken::new(format!(
            "{}: it takes what is made of its own result, a cycle",
            graph.nodes[at].label()
        ))
    })?;
    for at in order {
        import.node(&graph.nodes[at])?;
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
    fn inputs(&mut self, sizes: &Sizes) -> Result<(), Broken> {
        let mut texts = [const { None }; 4];
        for input in &self.graph.inputs {
            if self.stored.has(&input.name) {
                continue;
            }
            let (element, shape) = described(input, sizes)?;
            let name = input.name.to_lowercase();
            match (element, &*shape) {
                (1 | 10 | 16, [_, _, _, _]) => {
                    let id = self.add_input("image", &shape, Element::Number)?;
                    let view = View::plain(id, &shape);
                    self.values.insert(&input.name, Value::Node(view));
                }
                (6 | 7 | 9, [_, _]) => {
                    let role = match () {
                        () if name.contains("decoder") || name.contains("target") => 3,
                        () if name.contains("mask") => 2,
                        () if name.contains("type") || name.contains("segment") => 1,
                        () => 0,
                    };
                    if let Some((_, _, other)) = texts[role].replace((input, shape, &input.name)) {
                        return Err(Broken::new(format!(
                            "inputs `{other}` and `{}` play the same part: name them input_ids, \
                             token_type_ids, attention_mask and decoder_input_ids",
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
        let [ids, types, mask, target] = texts;
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
            self.stored.count(shape.iter().product())?;
            let mask = Mask {
                whole: Rc::new(Array::filled(shape.clone(), 1.0)),
                half: Rc::new(Array::from_places(shape, |place| {
                    f64::from(u8::from(place[1] < self.half_length(place[0])))
                })),
            };
            self.values.insert(&input.name, Value::Mask(mask));
        }
        if let Some((input, shape, _)) = target {
            let id = self.add_input("target", &shape, Element::Index)?;
            self.target = Some(id);
            let view = View::plain(id, &shape);
            self.values.insert(&input.name, Value::Node(view));
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
        if self.is_weight(node)? {
            return Ok(());
        }
        let value = match self.computed(node)? {
            Some(value) => value,
            None => self.layer(node)?,
        };
        self.values.insert(output, value);
        Ok(())
    }

    /// A stored or computed array of moderate size.
    pub fn array(&self, name: &str) -> Result<Option<Rc<Array>>, Broken> {
        match self.values.get(name) {
            Some(Value::Known(array)) => Ok(Some(array.clone())),
            _ => self.stored.array(name),
        }
    }

    /// A number known beforehand.
    pub fn scalar(&self, name: &str) -> Result<Option<f64>, Broken> {
        Ok(self.array(name)?.and_then(|array| array.scalar()))
    }

    /// The first node that uses a value.
    pub fn first_user(&self, output: &str) -> Option<&'a proto::Node> {
        let (_, user) = self.uses.get(output)?;
        Some(&self.graph.nodes[(*user)?])
    }

    /// The node that uses a value, when it is the only use; it gives something.
    pub fn follower(&self, output: &str) -> Option<&'a proto::Node> {
        match self.uses.get(output) {
            Some(&(1, Some(user))) => {
                let node = &self.graph.nodes[user];
                (!node.outputs.is_empty()).then_some(node)
            }
            _ => None,
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

    /// The node's result that a node takes, times 1: what it is multiplied by becomes a node.
    pub fn view(&mut self, node: &proto::Node, index: usize) -> Result<View, Broken> {
        match self.value(node, index)? {
            Value::Node(view) => self.times(&node.label(), view),
            Value::Known(_)
            | Value::Mask(_)
            | Value::Scores(_)
            | Value::Curve(..)
            | Value::Norm(..)
            | Value::Cut(..)
            | Value::Shifted(..)
            | Value::Window(..)
            | Value::Padded(..)
            | Value::Hidden(..)
            | Value::TokenSum(..)
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
        let op = op.into();
        let key = shared_key(&op, &weights);
        let owner = key.as_ref().and_then(|key| self.owners.get(key));
        let owner = owner.cloned().unwrap_or_else(|| name.clone());
        let node = Node {
            name: name.clone(),
            weights: owner.clone(),
            op: op.clone(),
            inputs: vec![],
            shape: vec![],
            element: op.gives(),
        };
        let id = self.b.copy(&node, op, inputs);
        let id = id.map_err(|error| Broken::new(error.to_string()))?;
        if owner != name {
            return Ok(id);
        }
        for (suffix, tensor) in weights {
            self.spend(&name, tensor.size())?;
            self.weights.insert(format!("{name}.{suffix}"), tensor);
        }
        if let Some(key) = key {
            self.owners.insert(key, name);
        }
        Ok(id)
    }

    /// Counts bytes of weights that are made.
    pub fn spend(&mut self, name: &str, bytes: usize) -> Result<(), Broken> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or_else(|| {
            Broken::new(format!(
                "{name}: with its weights they are many times the file's size"
            ))
        })?;
        Ok(())
    }

    /// A view times 1, of a node that is multiplied by the factor; the same one each time.
    pub(super) fn times(&mut self, label: &str, view: View) -> Result<View, Broken> {
        if view.factor == 1.0 {
            return Ok(view);
        }
        let key = (view.node, view.factor.to_bits());
        let id = match self.scaled.get(&key) {
            Some(&id) => id,
            None => {
                let scale = Scale {
                    factor: view.factor,
                };
                let id = self.add(&format!("{label}.scale"), scale, &[view.node], vec![])?;
                self.scaled.insert(key, id);
                id
            }
        };
        let axes = view.axes;
        Ok(View {
            node: id,
            axes,
            factor: 1.0,
        })
    }

    /// A node whose axes are those of the view; the same one each time.
    pub fn materialize(&mut self, label: &str, view: &View) -> Result<NodeId, Broken> {
        let view = self.times(label, view.clone())?;
        let key = (view.node, view.axes.clone());
        if let Some(&id) = self.made.get(&key) {
            return Ok(id);
        }
        let id = self.arranged(label, &view)?;
        self.made.insert(key, id);
        Ok(id)
    }

    fn arranged(&mut self, label: &str, view: &View) -> Result<NodeId, Broken> {
        use squeeze_graph::ops::{ChannelShuffle, Reshape, Transpose};
        let shape = self.b.shape(view.node).to_vec();
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
        if let Some(groups) = view.shuffled(&shape, channel_axis(&shape)) {
            let name = format!("{label}.shuffle");
            return self.add(&name, ChannelShuffle { groups }, &[view.node], vec![]);
        }
        let sizes = view.shape();
        let Some(pieces) = view.pieces(&shape).filter(|pieces| pieces.sizes.len() <= 3) else {
            return Err(Broken::new(format!(
                "{label}: {sizes:?} made from {shape:?} is a rearrangement that is not read"
            )));
        };
        let mut id = view.node;
        if let [_, c, h, w] = shape[..]
            && pieces.sizes == [c, h * w]
            && pieces.order == [1, 0]
        {
            // The pixels as tokens: images lie in memory like that.
            let order = vec![0, 2, 3, 1];
            id = self.add(
                &format!("{label}.transpose"),
                Transpose { order },
                &[id],
                vec![],
            )?;
        }
        let sized = |sizes: &[usize]| {
            let rest = sizes.iter().map(|&size| size as i64);
            Reshape {
                dims: std::iter::once(0).chain(rest).collect(),
            }
        };
        if id == view.node && !pieces.order.is_sorted() {
            if pieces.sizes != shape[1..] {
                id = self.add(&format!("{label}.cut"), sized(&pieces.sizes), &[id], vec![])?;
            }
            let rest = pieces.order.iter().map(|&at| at + 1);
            let order = std::iter::once(0).chain(rest).collect();
            let name = format!("{label}.transpose");
            id = self.add(&name, Transpose { order }, &[id], vec![])?;
        }
        if *self.b.shape(id) != sizes {
            let name = format!("{label}.reshape");
            id = self.add(&name, sized(&sizes[1..]), &[id], vec![])?;
        }
        Ok(id)
    }
}

/// What nodes that share their weights have in common: the operator, where they are not a table and a layer of its rows, and where the
/// tensors lie. Nothing for nodes without weights.
fn shared_key(op: &Op, weights: &[(&str, Tensor)]) -> Option<String> {
    use std::fmt::Write;
    let mut key = match op {
        Op::Embedding(_) => String::new(),
        Op::Linear(row) if !row.bias && row.groups == 1 => String::new(),
        _ => format!("{op:?}"),
    };
    for (suffix, tensor) in weights {
        let (place, form) = (tensor.bytes().as_ptr(), tensor.shape());
        write!(key, " {suffix} {place:?} {form:?}").expect("a string takes all");
    }
    (!weights.is_empty()).then_some(key)
}

/// Element type and shape of an input; a batch without a number is 1.
fn described(input: &proto::ValueInfo, open: &Sizes) -> Result<(i32, Vec<usize>), Broken> {
    let tensor = input.kind.as_ref().and_then(|kind| kind.tensor.as_ref());
    let wrong = |what: &str| {
        Broken::new(format!(
            "input `{}`: {what}: export with fixed shapes, or say how large it is (--seq, --image)",
            input.name
        ))
    };
    let tensor = tensor.ok_or_else(|| wrong("no tensor"))?;
    let shape = tensor.shape.as_ref().ok_or_else(|| wrong("no shape"))?;
    let rank = shape.dims.len();
    if rank > MOST_AXES {
        return Err(wrong("too many axes"));
    }
    let mut sizes = vec![];
    for (axis, dim) in shape.dims.iter().enumerate() {
        sizes.push(match dim.value {
            Some(size) if size > 0 => {
                usize::try_from(size).map_err(|_| wrong("an axis is too long"))?
            }
            Some(size) if size < 0 => return Err(wrong("an axis has a negative size")),
            _ if axis == 0 => 1,
            _ => {
                let size = match (rank, axis) {
                    (2, 1) => open.length,
                    (4, 2 | 3) => open.image.map(|image| image[axis - 2]),
                    _ => None,
                };
                size.ok_or_else(|| wrong("an axis has no size"))?
            }
        });
    }
    Ok((tensor.element, sizes))
}
