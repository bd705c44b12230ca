//! How the axes of a value in another program's file lie on the axes of a node: exporters transpose and reshape where
//! our operators know the layout, so most of that is followed here and never becomes an operator.

use squeeze_graph::NodeId;

/// A part of a node's axis: every `stride`-th element, `size` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Atom {
    pub axis: usize,
    pub stride: usize,
    pub size: usize,
}

/// A node's result under other axes, times a factor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    pub node: NodeId,
    /// For each of the file's axes what it runs over, outermost first; nothing when its size is 1.
    pub axes: Vec<Vec<Atom>>,
    /// What the node's result is multiplied by.
    pub factor: f64,
}

impl View {
    /// The node as it is.
    pub fn plain(node: NodeId, shape: &[usize]) -> Self {
        Self {
            node,
            axes: whole(shape),
            factor: 1.0,
        }
    }

    /// Size of each of the file's axes.
    pub fn shape(&self) -> Vec<usize> {
        let size = |axis: &Vec<Atom>| axis.iter().map(|atom| atom.size).product();
        self.axes.iter().map(size).collect()
    }

    /// The same axes on another node of the same shape.
    pub fn on(&self, node: NodeId) -> Self {
        Self {
            node,
            ..self.clone()
        }
    }

    /// Axes in another order; nothing when `order` is none.
    pub fn transposed(&self, order: &[usize]) -> Option<Self> {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..self.axes.len()) {
            return None;
        }
        let axes = order.iter().map(|&axis| self.axes[axis].clone()).collect();
        Some(Self {
            axes,
            ..self.clone()
        })
    }

    /// The same elements under another shape; nothing when that would cut across axes.
    pub fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        let mut atoms: Vec<Atom> = self.axes.concat();
        atoms.reverse();
        let mut axes = vec![];
        for &size in shape {
            let (mut wanted, mut axis) = (size, vec![]);
            while wanted > 1 {
                let atom = atoms.pop()?;
                if wanted.is_multiple_of(atom.size) {
                    wanted /= atom.size;
                    axis.push(atom);
                } else if atom.size.is_multiple_of(wanted) {
                    let inner = Atom {
                        size: atom.size / wanted,
                        ..atom
                    };
                    axis.push(Atom {
                        stride: atom.stride * inner.size,
                        size: wanted,
                        ..atom
                    });
                    atoms.push(inner);
                    wanted = 1;
                } else {
                    return None;
                }
            }
            axes.push(merged(axis));
        }
        atoms.is_empty().then_some(Self {
            axes,
            ..self.clone()
        })
    }

    /// Whether the file's axes are these axes of a node of this shape, each whole.
    pub fn is(&self, shape: &[usize], order: &[usize]) -> bool {
        let whole = whole(shape);
        self.axes.len() == order.len()
            && order.len() == shape.len()
            && self
                .axes
                .iter()
                .zip(order)
                .all(|(axis, &at)| *axis == whole[at])
    }

    /// The order of the node's axes, when the file's axes are those of a node of this shape.
    pub fn order(&self, shape: &[usize]) -> Option<Vec<usize>> {
        let whole = whole(shape);
        if self.axes.len() != whole.len() {
            return None;
        }
        let mut free: Vec<usize> = (0..whole.len()).collect();
        let mut order = vec![];
        for axis in &self.axes {
            let found = free.iter().position(|&at| whole[at] == *axis)?;
            order.push(free.remove(found));
        }
        Some(order)
    }

    /// The order in which a node of this shape would have to have its axes to have the elements in this order; nothing when
    /// parts of axes change places.
    pub fn whole_axes(&self, shape: &[usize]) -> Option<Vec<usize>> {
        let all = whole(shape);
        let mut order = vec![];
        for atom in merged(self.axes.concat()) {
            (all.get(atom.axis) == Some(&vec![atom])).then(|| order.push(atom.axis))?;
        }
        // Axes of size 1 may stand anywhere; the batch stays in front.
        let mut ones: Vec<usize> = (0..shape.len()).filter(|&axis| shape[axis] == 1).collect();
        if ones.first() == Some(&0) {
            order.insert(0, ones.remove(0));
        }
        order.extend(ones);
        (order.len() == shape.len()).then_some(order)
    }

    /// Whether the elements come in the order in which a node of this shape has them.
    pub fn is_in_order(&self, shape: &[usize]) -> bool {
        merged(self.axes.concat()) == whole(shape).concat()
    }
}

/// Each axis by itself.
fn whole(shape: &[usize]) -> Vec<Vec<Atom>> {
    let atom = |(axis, &size): (usize, &usize)| match size {
        1 => vec![],
        _ => vec![Atom {
            axis,
            stride: 1,
            size,
        }],
    };
    shape.iter().enumerate().map(atom).collect()
}

/// Neighbours that make one longer part of an axis, put together.
fn merged(atoms: Vec<Atom>) -> Vec<Atom> {
    let mut out: Vec<Atom> = vec![];
    for atom in atoms {
        match out.last_mut() {
            Some(last) if last.axis == atom.axis && last.stride == atom.stride * atom.size => {
                last.stride = atom.stride;
                last.size *= atom.size;
            }
            _ => out.push(atom),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What SqueezeBERT's export does to a text `[1, 128, 768]` around attention.
    #[test]
    fn heads_are_cut_and_put_together() {
        let shape = [1, 128, 768];
        let text = View::plain(NodeId(0), &shape);
        let first = text.transposed(&[0, 2, 1]).expect("an order");
        assert!(first.is(&shape, &[0, 2, 1]));
        let heads = first.reshaped(&[1, 12, 64, 128]).expect("12 heads of 64");
        assert_eq!(heads.shape(), [1, 12, 64, 128]);
        let turned = heads.transposed(&[0, 1, 3, 2]).expect("an order");
        let scrambled = turned.reshaped(&[1, 768, 128]).expect("as many elements");
        assert_eq!(scrambled.order(&shape), None);
        let back = turned.transposed(&[0, 1, 3, 2]).expect("an order");
        let back = back.reshaped(&[1, 768, 128]).expect("as before");
        assert_eq!(back, first);
        assert_eq!(back.order(&shape), Some(vec![0, 2, 1]));
    }

    #[test]
    fn flattening_keeps_the_order() {
        let shape = [2, 256, 6, 6];
        let image = View::plain(NodeId(0), &shape);
        let flat = image.reshaped(&[2, 9216]).expect("flat");
        assert!(flat.is_in_order(&shape));
        assert_eq!(flat.order(&shape), None);
        assert!(image.reshaped(&[2, 9217]).is_none());
    }
}
