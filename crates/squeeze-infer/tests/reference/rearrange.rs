//! Operators that move elements, by index arithmetic over the graph's shapes.

use std::ops::Range;

use squeeze_graph::elements;

use super::Array;

pub fn concat(axis: usize, inputs: &[&Array]) -> Array {
    let outer = elements(&inputs[0].shape[..axis]);
    let mut shape = inputs[0].shape.clone();
    shape[axis] = inputs.iter().map(|x| x.shape[axis]).sum();
    let mut data = vec![];
    for at in 0..outer {
        for x in inputs {
            let inner = elements(&x.shape[axis..]);
            data.extend(&x.data[at * inner..][..inner]);
        }
    }
    Array::new(&shape, data)
}

pub fn slice(axis: usize, kept: Range<usize>, x: &Array) -> Array {
    let outer = elements(&x.shape[..axis]);
    let inner = elements(&x.shape[axis + 1..]);
    let mut shape = x.shape.clone();
    shape[axis] = kept.len();
    let mut data = vec![];
    for at in 0..outer {
        for index in kept.clone() {
            data.extend(&x.data[(at * x.shape[axis] + index) * inner..][..inner]);
        }
    }
    Array::new(&shape, data)
}

pub fn transpose(order: &[usize], x: &Array) -> Array {
    let shape: Vec<usize> = order.iter().map(|&axis| x.shape[axis]).collect();
    let stride = |axis: usize| elements(&x.shape[axis + 1..]);
    let data = (0..x.data.len()).map(|to| {
        let mut rest = to;
        let mut from = 0;
        for axis in (0..order.len()).rev() {
            from += rest % shape[axis] * stride(order[axis]);
            rest /= shape[axis];
        }
        x.data[from]
    });
    Array::new(&shape, data.collect())
}
