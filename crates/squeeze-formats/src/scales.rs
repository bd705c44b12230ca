//! Weights in bytes as model files have them: `NODE.weight` of I8 and beside it `NODE.scale`, one F32 for each of its rows.

use squeeze_graph::Graph;
use squeeze_tensor::{Dtype, Weights};

use crate::error::Broken;

/// What the names end with, behind the node's.
const WEIGHT: &str = ".weight";
const SCALE: &str = ".scale";

/// The name of a weight's scales.
fn scale_of(weight: &str) -> Option<String> {
    let node = weight.strip_suffix(WEIGHT)?;
    Some(format!("{node}{SCALE}"))
}

/// The weights with scales apart from bytes.
///
/// # Errors
/// When something else than the weight of a node has scales.
pub(crate) fn apart(weights: &Weights) -> Result<Weights, Broken> {
    let mut all = Weights::default();
    for (name, tensor) in weights.iter() {
        if let Some((_, scales)) = tensor.scaled() {
            let unnamed = || Broken::new(format!("`{name}` has scales and is no node's weight"));
            let scales = squeeze_tensor::Tensor::from_f32(&[scales.len()], scales);
            all.insert(scale_of(name).ok_or_else(unnamed)?, scales);
        }
        all.insert(name, tensor.clone().without_scales());
    }
    Ok(all)
}

/// The weights of a network whose scales lie apart, with their scales.
///
/// # Errors
/// When scales are missing or lie.
pub(crate) fn together(graph: &Graph, mut weights: Weights) -> Result<Weights, Broken> {
    for node in graph.nodes() {
        let name = format!("{}{WEIGHT}", node.name);
        let Some(tensor) = weights.get(&name).cloned() else {
            continue;
        };
        if tensor.dtype() != Dtype::I8 {
            continue;
        }
        let scale = format!("{}{SCALE}", node.name);
        let Some(scales) = weights.remove(&scale) else {
            return Err(Broken::new(format!(
                "weight `{name}` holds bytes, and `{scale}` is missing"
            )));
        };
        if (scales.dtype(), scales.shape().len()) != (Dtype::F32, 1) {
            let (found, shape) = (scales.dtype().name(), scales.shape());
            return Err(Broken::new(format!(
                "`{scale}` is {shape:?} of {found}: scales are one row in single precision"
            )));
        }
        // Sums of products in 32 bits count on it.
        let has_lowest = |bytes: &[u8]| bytes.iter().fold(false, |has, &byte| has | (byte == 0x80));
        if tensor.bytes().chunks(4096).any(has_lowest) {
            return Err(Broken::new(format!(
                "weight `{name}` has the byte -128: bytes of weights are from -127 to 127"
            )));
        }
        let with_scales = tensor.with_scales(&scales.numbers());
        let with_scales = with_scales.map_err(|lie| Broken::new(format!("`{scale}`: {lie}")))?;
        weights.insert(name, with_scales);
    }
    Ok(weights)
}
