//! Checksums of large tables, a few rows at a time: a run takes few of their rows, and reads no others.

use std::collections::HashSet;

use serde_json::{Value, json};
use squeeze_graph::{Graph, Op};
use squeeze_kernels::crc64::Crc64;
use squeeze_tensor::{RowSums, Tensor, Weights};

use crate::error::Broken;
use crate::panels::weights_of;

/// Smaller tables are checked with everything else.
const TABLE: usize = 1 << 20;

/// About so many bytes are checked together.
const BLOCK: usize = 32 << 10;

/// Tables with the checksums of their rows, by name.
pub(crate) type Sums = Vec<(String, RowSums)>;

/// Those of a network's large tables, in the order of their names.
pub(crate) fn sums(graph: &Graph, tensors: &Weights) -> Sums {
    let tables = tables(graph);
    let is_large = |(name, table): &(&str, &Tensor)| {
        tables.contains(*name) && table.shape().len() == 2 && table.bytes().len() >= TABLE
    };
    let large = tensors.iter().filter(is_large);
    large
        .map(|(name, table)| (name.to_owned(), sums_of(table)))
        .collect()
}

fn sums_of(table: &Tensor) -> RowSums {
    let count = table.shape()[0];
    let rows = (BLOCK * count / table.bytes().len()).max(1);
    let blocks = 0..count.div_ceil(rows);
    let sums = blocks.map(|block| sum(table.block_of_rows(rows, block).1));
    RowSums {
        rows,
        sums: sums.collect(),
    }
}

fn sum(bytes: &[u8]) -> u64 {
    let mut crc = Crc64::default();
    crc.add(bytes);
    crc.sum()
}

/// Names of the weights that nodes take rows of, and nobody reads otherwise.
pub(crate) fn tables(graph: &Graph) -> HashSet<String> {
    weights_of(graph, &|node| {
        let mut inputs = node.inputs.iter();
        let counts = inputs.any(|&id| matches!(graph.node(id).op, Op::Position(_)));
        matches!(node.op, Op::Embedding(_)) && !counts
    })
}

/// As metadata hold them: `{"NODE.weight": [rows of a block, [checksum, ..]]}`.
pub(crate) fn to_text(sums: &Sums) -> String {
    let pair =
        |(name, RowSums { rows, sums }): &(String, RowSums)| (name.clone(), json!([rows, sums]));
    Value::Object(sums.iter().map(pair).collect()).to_string()
}

/// Those of these tensors that metadata hold.
pub(crate) fn of_text(text: &str, tensors: &Weights) -> Result<Sums, Broken> {
    let lie = |what: &str| Broken::new(format!("checksums of rows in its metadata: {what}"));
    let Ok(Value::Object(named)) = serde_json::from_str(text) else {
        return Err(lie("no JSON object"));
    };
    let mut all = vec![];
    for (name, value) in named {
        let count = match tensors.get(&name).map(Tensor::shape) {
            Some(&[count, width]) if width > 0 => count,
            _ => return Err(lie(&format!("`{name}` is no table"))),
        };
        match of_value(&value) {
            Some(sums) if sums.sums.len() == count.div_ceil(sums.rows) => all.push((name, sums)),
            _ => return Err(lie(&format!("not one for each block of `{name}`"))),
        }
    }
    Ok(all)
}

fn of_value(value: &Value) -> Option<RowSums> {
    let [rows, sums] = &**value.as_array()? else {
        return None;
    };
    let rows = usize::try_from(rows.as_u64()?).ok()?;
    let sums: Option<Vec<u64>> = sums.as_array()?.iter().map(Value::as_u64).collect();
    let sums = sums?;
    (rows > 0).then_some(RowSums { rows, sums })
}

/// Compares all blocks of a table.
pub(crate) fn check(name: &str, table: &Tensor, sums: &RowSums) -> Result<(), Broken> {
    for (block, &wanted) in sums.sums.iter().enumerate() {
        let (rows, bytes) = table.block_of_rows(sums.rows, block);
        if sum(bytes) != wanted {
            let last = rows.end - 1;
            return Err(Broken::new(format!(
                "damaged: the checksum of rows {} to {last} of `{name}` differs; copy or download it again",
                rows.start
            )));
        }
    }
    Ok(())
}
