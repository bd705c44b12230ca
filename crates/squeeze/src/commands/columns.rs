//! Which columns of a table are read: the options of every command that opens data.

use squeeze_data::Columns;

/// Names of columns, where the usual ones do not fit.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct ColumnArgs {
    /// Column of a table that is the text, or the first of a pair; found by itself when it is
    /// called text, sentence, question or the like
    #[arg(long, value_name = "NAME")]
    text_column: Option<String>,
    /// Column of a table that is the second of a pair
    #[arg(long, value_name = "NAME")]
    pair_column: Option<String>,
    /// Column of a table that is the answer; found by itself when it is called label, category,
    /// intent or the like
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,
}

impl ColumnArgs {
    /// The names as data sets take them.
    pub(super) fn columns(&self) -> Columns {
        Columns {
            text: self.text_column.clone(),
            pair: self.pair_column.clone(),
            label: self.label_column.clone(),
        }
    }
}
