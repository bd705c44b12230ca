//! Results on stdout: plain tables, and one JSON object a line.

use std::io::Write;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// Rows of text under names of columns.
#[derive(Debug)]
pub struct Columns {
    table: Table,
    numbers: Vec<usize>,
}

impl Columns {
    /// A table with these columns; names that end in `>` stand over numbers, which are aligned right.
    pub fn new(names: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).force_no_tty();
        table.set_header(names.iter().map(|name| name.trim_end_matches('>')));
        let is_number = |(at, name): (usize, &&str)| name.ends_with('>').then_some(at);
        let numbers = names.iter().enumerate().filter_map(is_number).collect();
        Self { table, numbers }
    }

    /// Adds a row.
    pub fn row<I: IntoIterator<Item: ToString>>(&mut self, cells: I) {
        self.table
            .add_row(cells.into_iter().map(|cell| cell.to_string()));
    }

    /// Prints the table.
    ///
    /// # Errors
    /// When stdout is closed.
    pub fn print(mut self) -> anyhow::Result<()> {
        for &at in &self.numbers {
            let column = self.table.column_mut(at).expect("named in `new`");
            column.set_cell_alignment(CellAlignment::Right);
        }
        let lines = self.table.lines().map(|line| {
            line.strip_prefix(' ')
                .unwrap_or(&line)
                .trim_end()
                .to_string()
        });
        print(&lines.collect::<Vec<_>>().join("\n"))
    }
}

/// Prints a line of result.
///
/// # Errors
/// When stdout is closed.
pub fn print(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Prints one JSON object on a line of its own.
///
/// # Errors
/// When stdout is closed.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string(value)?)
}
