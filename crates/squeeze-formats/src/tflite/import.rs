//! Walks a TFLite graph in its order and adds our nodes.

use std::collections::HashMap;

use bytes::Bytes;
use squeeze_graph::ops::{Conv2d, Reshape, Transpose};
use squeeze_graph::{Builder, Element, NodeId, Op, RANGE, elements};
use squeeze_tensor::{Tensor as Stored, Weights};

use super::flat::File;
use super::schema::{Kind, Model, Operator, Tensor, unread};
use super::{Imported, Pixel, constants};
use crate::error::Broken;
use crate::view::View;

/// What a tensor of the file is to us.
#[derive(Clone)]
pub(super) enum Value {
    /// A node's result under the file's axes.
    Node(View),
    /// The same with zeros around it: top, left, bottom, right.
    Padded(View, [usize; 4]),
    /// A constant: the tensor of this number.
    Constant(usize),
    /// Whole numbers that were computed from shapes.
    Known(Vec<i64>),
    /// The sigmoid of this, to become SiLU.
    Sigmoid(View),
    /// Which class has the largest of these.
    Largest(View),
}

/// The import in the making.
pub(super) struct Import<'a> {
    pub model: &'a Model<'a>,
    pub b: Builder,
    pub weights: Weights,
    pub values: HashMap<usize, Value>,
    /// The operators that take each tensor.
    pub users: HashMap<usize, Vec<usize>>,
    /// Layers whose bytes were not around zero.
    pub widened: usize,
    pixel: Option<Pixel>,
    notes: Vec<String>,
    /// How often each name was asked for.
    names: HashMap<String, usize>,
    /// Names of our nodes.
    nodes: Vec<String>,
}

/// Axes of an image of the file, [n, h, w, c], in the order of ours, and the other way round.
pub(super) const CHANNELS_FIRST: [usize; 4] = [0, 3, 1, 2];
pub(super) const CHANNELS_LAST: [usize; 4] = [0, 2, 3, 1];

/// Most numbers of a node's result.
const MOST_NUMBERS: usize = 1 << 31;

/// Reads a file's bytes.
pub(super) fn from_bytes(bytes: Bytes, name: &str) -> Result<Imported, Broken> {
    let file = File::new(bytes);
    let model = Model::read(&file)?;
    let mut import = Import {
        model: &model,
        b: Builder::new(name),
        weights: Weights::default(),
        values: HashMap::new(),
        users: HashMap::new(),
        widened: 0,
        pixel: None,
        notes: vec![],
        names: HashMap::new(),
        nodes: vec![],
    };
    for &input in &model.inputs {
        import.input(input)?;
    }
    let mut operators = vec![];
    for number in 0..model.operators.len() {
        let operator = model.operator(number)?;
        for input in operator
            .inputs
            .iter()
            .filter_map(|&i| usize::try_from(i).ok())
        {
            import.users.entry(input).or_default().push(number);
        }
        operators.push(operator);
    }
    for operator in &operators {
        let added = import.operator(operator);
        added.map_err(|Broken(why)| Broken::new(format!("{}: {why}", operator.label())))?;
    }
    let mut outputs = vec![];
    for &output in &model.outputs {
        outputs.push(import.output(output)?);
    }
    import.settle_bytes();
    let Import {
        b,
        weights,
        pixel,
        notes,
        ..
    } = import;
    let graph = b.finish(&outputs);
    Ok(Imported {
        graph: graph.map_err(|error| Broken::new(error.to_string()))?,
        weights,
        pixel,
        notes,
    })
}

impl<'a> Import<'a> {
    /// Adds an input of ours.
    fn input(&mut self, index: usize) -> Result<(), Broken> {
        let tensor = self.model.tensor(index)?;
        let name = tensor.name;
        let wrong = |what: &str| Broken::new(format!("input `{name}`: {what}"));
        if tensor.signature.iter().skip(1).any(|&size| size < 0) {
            return Err(wrong("an axis has no size: convert with fixed shapes"));
        }
        let is_number = match tensor.kind {
            Kind::F32 | Kind::I8 | Kind::U8 | Kind::I16 => true,
            Kind::F16 | Kind::I32 | Kind::I64 | Kind::Other(_) => false,
        };
        if !is_number || !(2..=4).contains(&tensor.shape.len()) {
            return Err(wrong(&format!(
                "{:?} of {:?}: an image [n, h, w, c], a text [n, s, c] or a vector [n, c] of numbers is read",
                tensor.kind, tensor.shape
            )));
        }
        let is_image = tensor.shape.len() == 4;
        let shape: Vec<usize> = match is_image {
            true => CHANNELS_FIRST
                .iter()
                .map(|&axis| tensor.shape[axis])
                .collect(),
            false => tensor.shape.clone(),
        };
        let is_first = is_image && !self.names.contains_key("image");
        let name = match is_first {
            true => "image".into(),
            false => layer_name(&tensor, index),
        };
        let name = self.fresh_name(&name);
        let id = self.b.input(&name, &shape, Element::Number);
        let id = id.map_err(|error| Broken::new(error.to_string()))?;
        self.check_size(id)?;
        self.nodes.push(name);
        if is_first {
            self.pixel = pixel(&tensor)?;
        }
        self.note_range(id, &tensor)?;
        let view = self.plain(id);
        self.values.insert(index, Value::Node(view));
        Ok(())
    }

    /// Translates one operator.
    fn operator(&mut self, operator: &Operator) -> Result<(), Broken> {
        let before = self.nodes.len();
        let values = self.translated(operator)?;
        if values.len() != operator.outputs.len() {
            let (found, wanted) = (operator.outputs.len(), values.len());
            return Err(unread(&format!("{found} outputs where {wanted} come out")));
        }
        for (value, &output) in values.into_iter().zip(&operator.outputs) {
            let tensor = self.model.tensor(output)?;
            if let Value::Node(view) = &value {
                let fits = |(at, (&found, &wanted)): (usize, (&usize, &usize))| {
                    found == wanted || tensor.signature.get(at).is_some_and(|&size| size < 0)
                };
                let found = view.shape();
                let alike = found.len() == tensor.shape.len()
                    && found.iter().zip(&tensor.shape).enumerate().all(fits);
                if !alike {
                    let wanted = &tensor.shape;
                    return Err(unread(&format!(
                        "a result of {found:?} that the file says is {wanted:?}"
                    )));
                }
                if view.node.0 >= before {
                    self.note_range(view.node, &tensor)?;
                }
            }
            if self.values.insert(output, value).is_some() {
                return Err(unread("a result that another operator gives too"));
            }
        }
        Ok(())
    }

    /// The node that an output of the network is.
    fn output(&mut self, index: usize) -> Result<NodeId, Broken> {
        let tensor = self.model.tensor(index)?;
        let name = tensor.name;
        let label = format!("output `{name}`");
        let name = &layer_name(&tensor, index);
        let view = match self.values.get(&index) {
            Some(Value::Node(view)) => view.clone(),
            Some(Value::Largest(view)) => {
                let view = view.clone();
                self.notes.push(format!(
                    "{label}: its ARG_MAX is left out, the network gives what each class gets"
                ));
                view
            }
            Some(Value::Padded(view, padding)) => {
                let (view, padding) = (view.clone(), *padding);
                let id = self.padded(name, &view, padding)?;
                self.plain(id)
            }
            Some(Value::Constant(_) | Value::Known(_) | Value::Sigmoid(_)) | None => {
                return Err(Broken::new(format!("{label} is not the result of a layer")));
            }
        };
        // Four axes lie in memory as the file has them.
        self.in_our_order(name, &view)
    }

    /// Makes numbers of all weights where some cannot be bytes: networks run in bytes where their weights are bytes.
    fn settle_bytes(&mut self) {
        if self.widened == 0 {
            return;
        }
        let names: Vec<String> = self
            .weights
            .iter()
            .map(|(name, _)| name.to_owned())
            .collect();
        let mut layers = self.widened;
        for name in names {
            let tensor = self.weights.get(&name).expect("it was just there");
            if tensor.scaled().is_some() {
                layers += 1;
                let numbers = Stored::from_f32(tensor.shape(), &tensor.floats());
                self.weights.insert(name, numbers);
            }
        }
        let widened = self.widened;
        self.notes.push(format!(
            "bytes of {widened} of {layers} weights are not around zero: all are numbers here, --precision int8 makes bytes of them anew"
        ));
    }

    /// The value of an operator's input.
    pub(super) fn value(&self, operator: &Operator, place: usize) -> Result<Value, Broken> {
        let missing = || unread(&format!("a missing input {place}"));
        let index = operator.inputs.get(place).ok_or_else(missing)?;
        let index = usize::try_from(*index).map_err(|_| missing())?;
        if let Some(value) = self.values.get(&index) {
            return Ok(value.clone());
        }
        match self.model.tensor(index)?.data.is_empty() {
            true => Err(unread(&format!("an input {place} that nothing gives"))),
            false => Ok(Value::Constant(index)),
        }
    }

    /// Whether an operator has this input.
    pub(super) fn has(&self, operator: &Operator, place: usize) -> bool {
        operator.inputs.get(place).is_some_and(|&index| index >= 0)
    }

    /// The node's result that an operator takes.
    pub(super) fn view(&mut self, operator: &Operator, place: usize) -> Result<View, Broken> {
        match self.value(operator, place)? {
            Value::Node(view) => Ok(view),
            Value::Padded(view, padding) => {
                let id = self.padded(&self.name(operator)?, &view, padding)?;
                Ok(self.plain(id))
            }
            Value::Largest(_) => Err(unread("an ARG_MAX that is not the network's result")),
            Value::Constant(_) | Value::Known(_) | Value::Sigmoid(_) => Err(unread(&format!(
                "an input {place} that is not a layer's result"
            ))),
        }
    }

    /// A constant that an operator takes.
    pub(super) fn constant(&self, operator: &Operator, place: usize) -> Result<Tensor<'a>, Broken> {
        match self.value(operator, place)? {
            Value::Constant(index) => self.model.tensor(index),
            Value::Node(_)
            | Value::Padded(..)
            | Value::Known(_)
            | Value::Sigmoid(_)
            | Value::Largest(_) => Err(unread(&format!(
                "an input {place} that is not known beforehand"
            ))),
        }
    }

    /// Whole numbers that an operator takes.
    pub(super) fn known(&self, operator: &Operator, place: usize) -> Result<Vec<i64>, Broken> {
        match self.value(operator, place)? {
            Value::Known(ints) => Ok(ints),
            _ => constants::known(self.model, &self.constant(operator, place)?),
        }
    }

    /// A node's result under the file's axes.
    pub(super) fn plain(&self, id: NodeId) -> View {
        let shape = self.b.shape(id);
        let view = View::plain(id, shape);
        match shape.len() {
            4 => view.transposed(&CHANNELS_LAST).expect("four axes"),
            _ => view,
        }
    }

    /// The name of what an operator gives.
    pub(super) fn name(&self, operator: &Operator) -> Result<String, Broken> {
        let Some(&output) = operator.outputs.first() else {
            return Err(unread("no result"));
        };
        Ok(layer_name(&self.model.tensor(output)?, output))
    }

    fn fresh_name(&mut self, name: &str) -> String {
        loop {
            let count = self.names.entry(name.to_owned()).or_default();
            *count += 1;
            let fresh = match *count {
                1 => return name.to_owned(),
                count => format!("{name}.{count}"),
            };
            if !self.names.contains_key(&fresh) {
                self.names.insert(fresh.clone(), 1);
                return fresh;
            }
        }
    }

    /// Adds one of our nodes under a name like `name`, with its weights.
    pub(super) fn add(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: &[NodeId],
        weights: Vec<(&str, Stored)>,
    ) -> Result<NodeId, Broken> {
        let name = self.fresh_name(name);
        let id = self.b.add(name.clone(), op, inputs);
        let id = id.map_err(|error| Broken::new(error.to_string()))?;
        self.check_size(id)?;
        for (suffix, tensor) in weights {
            self.weights.insert(format!("{name}.{suffix}"), tensor);
        }
        self.nodes.push(name);
        Ok(id)
    }

    fn check_size(&self, id: NodeId) -> Result<(), Broken> {
        let shape = self.b.shape(id);
        match elements(shape) {
            ..=MOST_NUMBERS => Ok(()),
            _ => Err(Broken::new(format!(
                "a result of {shape:?}: at most {MOST_NUMBERS} numbers are read"
            ))),
        }
    }

    /// Keeps the range that bytes of a node's result need, if the file has one.
    pub(super) fn note_range(&mut self, id: NodeId, tensor: &Tensor) -> Result<(), Broken> {
        if let Some(range) = tensor.range()? {
            let name = &self.nodes[id.0];
            self.weights
                .insert(format!("{name}{RANGE}"), Stored::from_f32(&[2], &range));
        }
        Ok(())
    }

    /// A node that is an image `[n, c, h, w]` where the file has `[n, h, w, c]`.
    pub(super) fn image(&mut self, name: &str, view: &View) -> Result<NodeId, Broken> {
        match view.transposed(&CHANNELS_FIRST) {
            Some(view) => self.materialize(name, &view),
            None => {
                let shape = view.shape();
                Err(Broken::new(format!("{shape:?} is no image [n, h, w, c]")))
            }
        }
    }

    /// A node whose axes are those of the view; new ones are called like `name`.
    pub(super) fn materialize(&mut self, name: &str, view: &View) -> Result<NodeId, Broken> {
        let (mut node, sizes) = (view.node, view.shape());
        let mut shape = self.b.shape(node).to_vec();
        if !view.is_in_order(&shape) {
            // The order of axes first, then their sizes.
            let order = view.whole_axes(&shape);
            let cut = || {
                unread(&format!(
                    "{sizes:?} made from parts of the axes of {shape:?}"
                ))
            };
            let transpose = Transpose {
                order: order.ok_or_else(cut)?,
            };
            node = self.add(&format!("{name}.transpose"), transpose, &[node], vec![])?;
            shape = self.b.shape(node).to_vec();
        }
        if sizes == shape {
            return Ok(node);
        }
        if sizes.first() != shape.first() {
            return Err(unread(&format!(
                "{sizes:?} made from {shape:?}, another batch"
            )));
        }
        let rest = sizes.iter().skip(1).map(|&size| size as i64);
        let dims = std::iter::once(0).chain(rest).collect();
        self.add(
            &format!("{name}.reshape"),
            Reshape { dims },
            &[node],
            vec![],
        )
    }

    /// An image with zeros around it where no window can take them: a window of one tap over each channel.
    fn padded(&mut self, name: &str, view: &View, padding: [usize; 4]) -> Result<NodeId, Broken> {
        let x = self.image(name, view)?;
        let channels = self.b.channels(x);
        self.model.file.charge(4 * channels)?;
        let conv = Conv2d {
            padding,
            groups: channels,
            ..Conv2d::square(channels, 1)
        };
        let ones = Stored::from_f32(&[channels, 1, 1, 1], &vec![1.0; channels]);
        self.add(&format!("{name}.pad"), conv, &[x], vec![("weight", ones)])
    }
}

/// What a layer is called: the first of the names that were put together, or the tensor's number.
fn layer_name(tensor: &Tensor, index: usize) -> String {
    match tensor.name.split(';').next() {
        None | Some("") => format!("tensor{index}"),
        Some(name) => name.into(),
    }
}

/// What a pixel becomes, when an image is of bytes.
fn pixel(tensor: &Tensor) -> Result<Option<Pixel>, Broken> {
    // Signed bytes are pixels minus 128.
    let middle = match tensor.kind {
        Kind::U8 => 0.0,
        Kind::I8 => 128.0,
        Kind::F32 | Kind::F16 | Kind::I16 | Kind::I32 | Kind::I64 | Kind::Other(_) => {
            return Ok(None);
        }
    };
    // Bytes without a scale are numbers.
    let (scale, zero) = match tensor.quantization()? {
        Some(quantization) => (quantization.scales[0], quantization.zeros[0]),
        None => (1.0, 0),
    };
    let zero = zero as f32 + middle;
    Ok((scale > 0.0).then_some(Pixel { scale, zero }))
}
