//! Checksums of large tables, a few rows at a time: a run takes few of their rows, and reads no others.

use std::collections::HashSet;

use serde_json::{Value, json};
use squeeze_graph::{Graph, Op};
use squeeze_kernels::crc64::sum;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn weights() -> Weights {
        let table = Tensor::from_i8(&[5, 2], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let list = Tensor::from_i8(&[5], &[1; 5]);
        Weights::from_iter([("table".into(), table), ("list".into(), list)])
    }

    #[test]
    fn checksums_come_back_and_find_a_row() {
        let weights = weights();
        let table = weights.get("table").expect("there");
        let sums = vec![("table".into(), sums_of(table))];
        let back = of_text(&to_text(&sums), &weights).expect("its own");
        assert_eq!(back, sums);
        let twos = RowSums {
            rows: 2,
            sums: (0..3)
                .map(|block| sum(table.block_of_rows(2, block).1))
                .collect(),
        };
        check("table", table, &twos).expect("sound");
        let other = Tensor::from_i8(&[5, 2], &[1, 2, 3, 4, 5, 6, 7, 0, 9, 10]);
        let Err(Broken(reason)) = check("table", &other, &twos) else {
            panic!("a row differs");
        };
        assert_eq!(
            reason,
            "damaged: the checksum of rows 2 to 3 of `table` differs; copy or download it again"
        );
    }

    #[test]
    fn checksums_that_lie_are_refused() {
        for (text, message) in [
            ("[]", "no JSON object"),
            ("{", "no JSON object"),
            (r#"{"other": [1, []]}"#, "`other` is no table"),
            (r#"{"list": [5, [1]]}"#, "`list` is no table"),
            (
                r#"{"table": [2, [1, 2]]}"#,
                "not one for each block of `table`",
            ),
            (
                r#"{"table": [0, [1]]}"#,
                "not one for each block of `table`",
            ),
            (
                r#"{"table": [5, [-1]]}"#,
                "not one for each block of `table`",
            ),
            (r#"{"table": 5}"#, "not one for each block of `table`"),
        ] {
            let Err(Broken(reason)) = of_text(text, &weights()) else {
                panic!("{text} lies");
            };
            let wanted = format!("checksums of rows in its metadata: {message}");
            assert_eq!(reason, wanted, "{text}");
        }
        let whole = r#"{"table": [18446744073709551615, [7]]}"#;
        let sums = of_text(whole, &weights()).expect("one block");
        let table = weights();
        assert!(check("table", table.get("table").expect("there"), &sums[0].1).is_err());
    }
}
