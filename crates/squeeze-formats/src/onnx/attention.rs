//! Attention put together from its parts: product, scale, mask, softmax, product.

use squeeze_graph::ops::Attention;

use super::array::Array;
use super::curves::stands_for;
use super::import::Import;
use super::proto::Node;
use super::value::{Mask, Value};
use crate::error::Broken;
use crate::view::View;

/// Queries times keys, on the way to attention.
#[derive(Clone)]
pub(super) struct Scores {
    /// `[n, heads, s, d]`.
    pub query: View,
    /// `[n, heads, d, s]`.
    pub key: View,
    /// What the product is multiplied by.
    pub factor: f64,
    /// Whether padding is hidden.
    pub masked: bool,
    /// Whether later tokens are hidden.
    pub causal: bool,
    /// Whether the softmax was taken.
    pub softmax: bool,
}

impl Scores {
    /// Starts from a product of two results of layers.
    pub fn new(query: View, key: View) -> Self {
        let factor = query.factor * key.factor;
        Self {
            query,
            key,
            factor,
            masked: false,
            causal: false,
            softmax: false,
        }
    }

    /// The same, multiplied.
    pub fn times(mut self, factor: f64) -> Option<Self> {
        self.factor *= factor;
        (!self.masked && !self.causal && !self.softmax).then_some(self)
    }
}

impl Import<'_> {
    /// The product of a softmax and values is our operator.
    pub fn attention(
        &mut self,
        node: &Node,
        scores: &Scores,
        value: &View,
    ) -> Result<Value, Broken> {
        let wrong = |reason: &str| {
            Broken::new(format!(
                "{}: looks like attention, but {reason}: not read",
                node.label()
            ))
        };
        let (query, key) = (&scores.query, &scores.key);
        let sizes = query.shape();
        let &[n, heads, s, width] = &*sizes else {
            return Err(wrong("its queries are not [n, heads, s, d]"));
        };
        if !scores.softmax {
            return Err(wrong("there is no softmax"));
        }
        // Our operator divides by the root of the head's width; what is left of the scale is the queries'.
        let left = match scores.factor * (width as f64).sqrt() {
            left if stands_for(left, 1.0) => 1.0,
            left => left,
        };
        let factor = value.factor;
        // What is cut into heads is a text, perhaps one that was brought into that form.
        let [query, key, value] = [
            (query, [0, 2, 1, 3]),
            (key, [0, 3, 1, 2]),
            (value, [0, 2, 1, 3]),
        ]
        .map(|(view, order)| self.text_of_heads(node, view, &order));
        let (query, key, value) = (&query?, &key?, &value?);
        let text = [n, s, heads * width];
        let fits = |view: &View, order: [usize; 4], shape: &[usize]| {
            let each = shape[2] / heads;
            let cut = View::plain(view.node, shape).reshaped(&[n, shape[1], heads, each]);
            let cut = cut.and_then(|cut| cut.transposed(&order));
            cut.is_some_and(|cut| cut.axes == view.axes)
        };
        let shape_of = |view: &View| self.b.shape(view.node).to_vec();
        let whole = shape_of(query) == text
            && shape_of(key).len() == 3
            && shape_of(value).len() == 3
            && fits(query, [0, 2, 1, 3], &text)
            && fits(key, [0, 2, 3, 1], &shape_of(key))
            && fits(value, [0, 2, 1, 3], &shape_of(value));
        if !whole {
            return Err(wrong("its heads are not cut from the channels in order"));
        }
        let (query, value) = (query.times(left), value.times(factor));
        let query = self.times(&node.label(), query)?;
        let value = self.times(&node.label(), value)?;
        let mut inputs = vec![query.node, key.node, value.node];
        if scores.masked {
            inputs.extend(self.lengths);
        }
        let causal = scores.causal;
        let row = Attention { heads, causal };
        let id = self.add(&node.outputs[0], row, &inputs, vec![])?;
        let plain = View::plain(id, self.b.shape(id));
        let cut = plain.reshaped(&[n, s, heads, self.b.channels(id) / heads]);
        let cut = cut.and_then(|cut| cut.transposed(&[0, 2, 1, 3]));
        Ok(Value::Node(cut.expect("heads divide the channels")))
    }

    /// A view of heads on a text `[n, s, c]`: its own node, or one that is made for it.
    fn text_of_heads(&mut self, node: &Node, view: &View, order: &[usize]) -> Result<View, Broken> {
        let joined = view.transposed(order).and_then(|cut| {
            let &[n, s, heads, width] = &*cut.shape() else {
                return None;
            };
            cut.reshaped(&[n, s, heads * width])
        });
        let plain = View {
            factor: 1.0,
            ..view.clone()
        };
        let is_text = |joined: &View| joined.is(self.b.shape(view.node), &[0, 1, 2]);
        let Some(joined) = joined.filter(|joined| !is_text(joined)) else {
            return Ok(plain);
        };
        let joined = View {
            factor: 1.0,
            ..joined
        };
        let id = self.materialize(&node.label(), &joined)?;
        let cut = view.transposed(order).map(|cut| cut.shape());
        let back = inverse(order);
        let heads = View::plain(id, self.b.shape(id)).reshaped(&cut.expect("it was one before"));
        let heads = heads.and_then(|heads| heads.transposed(&back));
        Ok(heads.unwrap_or(plain))
    }

    /// Adds a mask to scores: it must hide padding, or later tokens, or both, and nothing else.
    pub fn masked(&self, node: &Node, scores: Scores, mask: &Mask) -> Result<Value, Broken> {
        let wrong = || {
            Broken::new(format!(
                "{}: its mask hides more, or less, than padding and later tokens: not read",
                node.label()
            ))
        };
        let (queries, keys) = (scores.query.shape(), scores.key.shape());
        let (&[texts, _, rows, _], &[_, _, _, columns]) = (&*queries, &*keys) else {
            return Err(wrong());
        };
        let places = [texts, rows, columns];
        let count = places.iter().try_fold(2usize, |a, &b| a.checked_mul(b));
        self.stored.count(count.unwrap_or(usize::MAX))?;
        // The mask that was given is that of texts of this length.
        let has_mask = self.lengths.is_some() && columns == self.length;
        let own = has_mask && rows == columns && self.target.is_none();
        let fits = |array: &Array, length: &dyn Fn(usize) -> usize, hides: Hides| {
            let shape = [texts, 1, rows, columns];
            array.shape.len() <= 4
                && super::array::broadcast(&array.shape, &shape).is_some()
                && array
                    .shape
                    .iter()
                    .rev()
                    .zip(shape.iter().rev())
                    .all(|(a, b)| a <= b || *a == 1)
                && Array::from_places(shape.to_vec(), |place| {
                    let (query, key, length) = (place[2], place[3], length(place[0]));
                    let value = array.at(place);
                    let hidden = hides.padding && key >= length || hides.later && key > query;
                    let right = if hidden {
                        // The older form of a mask is -10000.
                        value <= -9999.0
                    } else {
                        value == 0.0
                    };
                    // What a padded token sees is nobody's concern.
                    f64::from(u8::from(right || own && query >= length))
                })
                .data
                .iter()
                .all(|&right| right == 1.0)
        };
        let half = |text: usize| match has_mask {
            true => self.half_length(text),
            false => columns,
        };
        let found = Hides::ALL.into_iter().find(|&hides| {
            (has_mask || !hides.padding)
                && (rows == columns || !hides.later)
                && fits(&mask.whole, &|_| columns, hides)
                && fits(&mask.half, &half, hides)
        });
        let hides = found.filter(|_| !scores.softmax).ok_or_else(wrong)?;
        Ok(Value::Scores(Scores {
            masked: scores.masked || hides.padding,
            causal: scores.causal || hides.later,
            ..scores
        }))
    }
}

/// What a mask hides.
#[derive(Clone, Copy)]
struct Hides {
    padding: bool,
    later: bool,
}

impl Hides {
    /// The simplest first; padding is hidden where both say the same, so that texts without theirs can be packed.
    const ALL: [Self; 4] = [
        Self::these(false, false),
        Self::these(true, false),
        Self::these(true, true),
        Self::these(false, true),
    ];

    const fn these(padding: bool, later: bool) -> Self {
        Self { padding, later }
    }
}

/// The order that undoes another.
fn inverse(order: &[usize]) -> Vec<usize> {
    let place = |at: usize| order.iter().position(|&axis| axis == at);
    (0..order.len()).filter_map(place).collect()
}
