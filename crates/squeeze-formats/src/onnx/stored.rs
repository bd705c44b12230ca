//! The tensors that a file holds or has beside it, each turned into what our nodes take once.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::{Component, Path};
use std::rc::Rc;

use squeeze_kernels::Reading;
use squeeze_tensor::{Dtype, Tensor};

use super::array::{self, Array};
use super::proto;
use crate::error::Broken;
use crate::map::Mapped;

/// A file's tensors by name.
pub(super) struct Stored<'a> {
    messages: HashMap<&'a str, &'a proto::Tensor>,
    /// Other names of tensors.
    aliases: HashMap<&'a str, &'a str>,
    /// Tensors that were computed from stored ones.
    made: HashMap<&'a str, Tensor>,
    /// Tensors in single precision, and with rows and columns exchanged.
    single: RefCell<HashMap<(String, bool), Tensor>>,
    /// Small ones as arrays.
    arrays: RefCell<HashMap<String, Rc<Array>>>,
    /// Elements that may still be computed.
    left: Cell<usize>,
}

/// Most bytes of a stored tensor whose numbers are looked at one by one: far beyond any mask or shape, and as large as the places of
/// 1,370 patches of 1,280 channels.
const MOST: usize = 1 << 23;

/// Most elements of all arrays that are computed while a file is read.
const MOST_COMPUTED: usize = 1 << 26;

impl<'a> Stored<'a> {
    /// The tensors of a graph.
    pub fn new(graph: &'a proto::Graph) -> Self {
        let named = graph.initializers.iter().map(|t| (&*t.name, t));
        Self {
            messages: named.collect(),
            aliases: HashMap::new(),
            made: HashMap::new(),
            single: RefCell::default(),
            arrays: RefCell::default(),
            left: Cell::new(MOST_COMPUTED),
        }
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.made.contains_key(name) || self.message(name).is_some()
    }

    fn message(&self, name: &str) -> Option<&'a proto::Tensor> {
        let name = self.aliases.get(name).copied().unwrap_or(name);
        self.messages.get(name).copied()
    }

    /// Gives a tensor another name.
    pub fn alias(&mut self, name: &'a str, of: &'a str) {
        let of = self.aliases.get(of).copied().unwrap_or(of);
        if let Some(tensor) = self.made.get(of).cloned() {
            self.made.insert(name, tensor);
        } else {
            self.aliases.insert(name, of);
        }
    }

    /// Adds a tensor that was computed.
    pub fn add(&mut self, name: &'a str, tensor: Tensor) {
        self.made.insert(name, tensor);
    }

    /// Adds a matrix with rows and columns exchanged, which turned back is the matrix itself; gives whether it is one.
    pub fn add_turned(&mut self, name: &'a str, matrix: &str) -> Result<bool, Broken> {
        let (Some(matrix), Some(turned)) = (self.weight(matrix)?, self.turned(matrix)?) else {
            return Ok(false);
        };
        self.made.insert(name, turned);
        self.single
            .get_mut()
            .insert((name.to_owned(), true), matrix);
        Ok(true)
    }

    /// Shape and element type, as ONNX counts them, of a tensor that the file holds.
    pub fn form(&self, name: &str) -> Option<(Vec<usize>, i32)> {
        if let Some(tensor) = self.made.get(name) {
            return Some((tensor.shape().to_vec(), 1));
        }
        let message = self.message(name)?;
        let dims = message.dims.iter();
        let shape: Option<_> = dims.map(|&dim| usize::try_from(dim).ok()).collect();
        Some((shape?, message.data_type))
    }

    /// A stored tensor as an array, if it is of moderate size.
    pub fn array(&self, name: &str) -> Result<Option<Rc<Array>>, Broken> {
        if let Some(array) = self.arrays.borrow().get(name) {
            return Ok(Some(array.clone()));
        }
        let tensor = match (self.made.get(name), self.message(name)) {
            (Some(tensor), _) if tensor.bytes().len() <= MOST => tensor.clone(),
            (None, Some(message)) if message.raw.len() <= MOST => array::tensor(message)?,
            _ => return Ok(None),
        };
        self.count(tensor.len())?;
        let array = Rc::new(Array::from(&tensor));
        self.arrays
            .borrow_mut()
            .insert(name.to_owned(), array.clone());
        Ok(Some(array))
    }

    /// Counts elements that are computed.
    pub fn count(&self, elements: usize) -> Result<(), Broken> {
        let left = self.left.get().checked_sub(elements);
        let left = left.ok_or_else(|| {
            Broken::new(format!(
                "more than {MOST_COMPUTED} numbers would have to be computed to read it: simplify it, \
                 for example with onnxsim"
            ))
        })?;
        self.left.set(left);
        Ok(())
    }

    /// A tensor as it is stored.
    pub fn exact(&self, name: &str) -> Result<Option<Tensor>, Broken> {
        match (self.made.get(name), self.message(name)) {
            (Some(tensor), _) => Ok(Some(tensor.clone())),
            (None, Some(message)) => Ok(Some(array::tensor(message)?)),
            (None, None) => Ok(None),
        }
    }

    /// A tensor in single precision, or in bytes with scales.
    pub fn weight(&self, name: &str) -> Result<Option<Tensor>, Broken> {
        self.kept(name, false)
    }

    /// The same with rows and columns exchanged; for a matrix.
    pub fn turned(&self, name: &str) -> Result<Option<Tensor>, Broken> {
        self.kept(name, true)
    }

    fn kept(&self, name: &str, turned: bool) -> Result<Option<Tensor>, Broken> {
        let root = self.aliases.get(name).copied().unwrap_or(name);
        let key = (root.to_owned(), turned);
        if let Some(tensor) = self.single.borrow().get(&key) {
            return Ok(Some(tensor.clone()));
        }
        let tensor = match turned {
            true => self
                .weight(name)?
                .and_then(|tensor| array::transposed(&tensor)),
            false => self.exact(name)?.map(array::single),
        };
        if let Some(tensor) = &tensor {
            self.single.borrow_mut().insert(key, tensor.clone());
        }
        Ok(tensor)
    }

    /// Adds bytes times scales, which stay apart where each output channel has one and nothing is added. Gives whether it can.
    pub fn add_scaled(&mut self, name: &'a str, bytes: &Tensor, scaling: &Scaling) -> bool {
        let Scaling {
            scales,
            zeros,
            axis,
        } = scaling;
        let symmetric = zeros.iter().all(|&zero| zero == 0.0);
        let signed = bytes.dtype() == Dtype::I8 && !bytes.bytes().contains(&128);
        if symmetric && signed {
            if *axis == 0 && bytes.shape().first() == Some(&scales.len()) {
                let scaled = bytes.clone().with_scales(scales);
                return scaled.is_ok_and(|tensor| self.made.insert(name, tensor).is_none());
            }
            // The weight of a product, turned back below.
            let turned = array::transposed(bytes).filter(|_| *axis == 1);
            let scaled = turned.and_then(|turned| turned.with_scales(scales).ok());
            if let Some(scaled) = scaled {
                self.single
                    .get_mut()
                    .insert((name.to_owned(), true), scaled);
            }
        }
        let alone = scales.len() == 1;
        let size = bytes.shape().get(*axis).copied().unwrap_or(1);
        if !alone && size != scales.len() || zeros.len() > 1 && zeros.len() != scales.len() {
            return false;
        }
        let inner: usize = bytes.shape().iter().skip(axis + 1).product();
        let place = |at: usize| if alone { 0 } else { at / inner % size };
        let zero = |place: usize| zeros.get(place).or(zeros.first()).copied().unwrap_or(0.0);
        let values = bytes.floats().into_iter().enumerate();
        let values: Vec<f32> = values
            .map(|(at, value)| (value - zero(place(at))) * scales[place(at)])
            .collect();
        self.made
            .insert(name, Tensor::from_f32(bytes.shape(), &values));
        true
    }
}

/// What bytes are multiplied by, and what is taken off before: one each, or one for each place of an axis.
pub(super) struct Scaling {
    pub scales: Vec<f32>,
    pub zeros: Vec<f32>,
    pub axis: usize,
}

/// Brings in what lies in other files: each must be a plain file in the folder of the model or below. Gives their size.
pub(super) fn bring_in(graph: &mut proto::Graph, folder: &Path) -> Result<usize, Broken> {
    let mut files: HashMap<String, Mapped> = HashMap::new();
    for tensor in &mut graph.initializers {
        if tensor.location == 0 {
            continue;
        }
        let wrong = |reason: String| Broken::new(format!("tensor `{}`: {reason}", tensor.name));
        let entry = |key: &str| {
            let found = tensor.elsewhere.iter().find(|entry| entry.key == key);
            found.map(|entry| &*entry.value)
        };
        let number = |key: &str| match entry(key).map(str::parse::<usize>) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(wrong(format!("its {key} in another file is no number"))),
        };
        let location = entry("location").ok_or_else(|| wrong("its file has no name".into()))?;
        let inside = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
        if !Path::new(location).components().all(inside) || location.contains('\\') {
            return Err(wrong(format!(
                "its data lie in `{location}`, which is outside of the model's folder: refused"
            )));
        }
        if !files.contains_key(location) {
            let path = folder.join(location);
            // A pipe would be waited for.
            if !std::fs::metadata(&path).is_ok_and(|about| about.is_file()) {
                return Err(wrong(format!(
                    "its data lie in `{location}`, and there is no such file beside the model"
                )));
            }
            let file = Mapped::open(&path).map_err(|error| wrong(error.to_string()))?;
            files.insert(location.to_owned(), file);
        }
        let file = &files[location];
        let size = file.bytes().len();
        let start = number("offset")?.unwrap_or(0);
        let length = match number("length")? {
            Some(length) => length,
            None => size.saturating_sub(start),
        };
        let end = start.checked_add(length).filter(|&end| end <= size);
        let Some(end) = end else {
            return Err(wrong(format!(
                "bytes {start} to {start} + {length} of `{location}`, which has {size}"
            )));
        };
        let raw = file.part(start..end, Reading::Whole);
        tensor.raw = raw;
        tensor.location = 0;
        tensor.elsewhere.clear();
    }
    Ok(files.values().map(|file| file.bytes().len()).sum())
}
