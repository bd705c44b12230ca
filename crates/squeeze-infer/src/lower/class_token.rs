//! Class tokens: rows of a table and the tokens behind them, each written to its place.

use squeeze_graph::Node;
use squeeze_graph::ops::ClassToken;
use squeeze_kernels::elementwise::Block;

use super::Lowering;
use crate::numbers::Table;
use crate::program::{BlockCopy, Home, Source, ValueId, Work};

impl Lowering<'_> {
    pub(super) fn class_token(&mut self, node: &Node, row: &ClassToken, x: ValueId) -> ValueId {
        let &[n, tokens, width] = &node.shape[..] else {
            unreachable!("the shape was checked");
        };
        let count = row.tokens;
        let table = Table::from(self.weight(node, "weight"));
        let home = Home {
            source: Source::Positions,
            offset: 0,
            stride: count,
        };
        let places = self.program.value(&[n, count], home);
        let output = self.program.fresh(&node.shape);
        let gather = Work::Gather { table };
        if n == 1 {
            // All rows lie one behind the other.
            let home = self.program.values[output].home;
            let first = self.program.value(&[1, count, width], home);
            self.step_to(node, gather, &[places], first);
            let offset = count * width;
            let home = Home { offset, ..home };
            let rest = self.program.value(&[1, tokens - count, width], home);
            self.step_to(node, Work::Move, &[x], rest);
            return output;
        }
        let first = self.program.fresh(&[n, count, width]);
        self.step_to(node, gather, &[places], first);
        for (part, from, to) in [(first, count, 0), (x, tokens - count, count)] {
            let columns = from * width;
            let block = Block {
                rows: n,
                columns,
                from_stride: columns,
                to_stride: tokens * width,
            };
            let copy = BlockCopy {
                block,
                from: 0,
                to: to * width,
            };
            self.step_to(node, Work::Block(copy), &[part], output);
        }
        output
    }
}
