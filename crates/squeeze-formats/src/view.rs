//! How the axes of a value in another program's file lie on the axes of a node: exporters transpose and reshape where
//! our operators know the layout, so most of that is followed here and never becomes an operator.

use squeeze_graph::NodeId;

/// A part of a node's axis: every `stride`-th element, `size` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

    /// The same, multiplied.
    pub fn times(&self, factor: f64) -> Self {
        Self {
            factor: self.factor * factor,
            ..self.clone()
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

    /// Into how many groups the channels were cut before they were dealt out, when that is all that happened to a node of this shape.
    pub fn shuffled(&self, shape: &[usize], channels: usize) -> Option<usize> {
        let whole = whole(shape);
        let others = self.axes.len() == whole.len()
            && (0..whole.len()).all(|at| at == channels || self.axes[at] == whole[at]);
        let &[outer, inner] = &**self.axes.get(channels).filter(|_| others)? else {
            return None;
        };
        let dealt = (outer.axis, outer.stride) == (channels, 1)
            && (inner.axis, inner.stride) == (channels, outer.size)
            && outer.size * inner.size == shape[channels];
        dealt.then_some(inner.size)
    }

    /// Whether the elements come in the order in which a node of this shape has them.
    pub fn is_in_order(&self, shape: &[usize]) -> bool {
        merged(self.axes.concat()) == whole(shape).concat()
    }

    /// The pieces that a node of this shape is cut into behind its batch, and their new order; nothing when the batch moves.
    pub fn pieces(&self, shape: &[usize]) -> Option<Pieces> {
        let (batch, rest) = self.axes.split_first()?;
        if *batch != *whole(shape).first()? {
            return None;
        }
        // How far apart, and how many; neighbours of one step are one piece.
        let mut moved: Vec<[usize; 2]> = vec![];
        for atom in rest.iter().flatten() {
            let inner: usize = shape[atom.axis + 1..].iter().product();
            let (step, size) = (atom.stride * inner, atom.size);
            match moved.last_mut() {
                Some([last, count]) if *last == step * size => {
                    (*last, *count) = (step, *count * size)
                }
                _ => moved.push([step, size]),
            }
        }
        let mut sorted = moved.clone();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let place = |piece| sorted.iter().position(|other| other == piece);
        Some(Pieces {
            sizes: sorted.iter().map(|&[_, size]| size).collect(),
            order: moved.iter().map(place).collect::<Option<_>>()?,
        })
    }
}

/// What a node is cut into, and in which order that stands afterwards.
pub(crate) struct Pieces {
    pub sizes: Vec<usize>,
    pub order: Vec<usize>,
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

    #[test]
    fn pixels_become_tokens() {
        let shape = [2, 5, 3, 4];
        let tokens = View::plain(NodeId(0), &shape).reshaped(&[2, 5, 12]);
        let tokens = tokens.and_then(|rows| rows.transposed(&[0, 2, 1]));
        let pieces = tokens
            .expect("a text")
            .pieces(&shape)
            .expect("the batch stays");
        assert_eq!((pieces.sizes, pieces.order), (vec![5, 12], vec![1, 0]));
        let mixed = View::plain(NodeId(0), &shape).transposed(&[1, 0, 2, 3]);
        assert!(mixed.expect("an order").pieces(&shape).is_none());
    }

    #[test]
    fn channels_that_are_dealt_out() {
        let shape = [1, 6, 2, 2];
        let image = View::plain(NodeId(0), &shape);
        let dealt = image.reshaped(&[1, 2, 3, 2, 2]).expect("two groups");
        let dealt = dealt.transposed(&[0, 2, 1, 3, 4]).expect("an order");
        let dealt = dealt.reshaped(&shape).expect("as before");
        assert_eq!(dealt.shuffled(&shape, 1), Some(2));
        assert_eq!(image.shuffled(&shape, 1), None);
    }
}
