//! What can be wrong with data: the fact, the place and the remedy.

use std::path::PathBuf;

/// Why a data set was refused.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Neither an embedded name nor a path.
    #[error(
        "no data set `{name}`: the embedded sets are {embedded}; otherwise give a folder or a file that exists"
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names that exist.
        embedded: String,
    },
    /// A file or folder could not be read.
    #[error("{}: {reason}: check the path and its permissions", file.display())]
    Unreadable {
        /// Which one.
        file: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// Nothing in the folder looks like data.
    #[error("{}: no data set recognised here; looked for {looked_for}", path.display())]
    Unrecognised {
        /// Which folder or file.
        path: PathBuf,
        /// The forms that were tried.
        looked_for: String,
    },
    /// A table has no column that can serve.
    #[error("{}: no {wanted} column; columns are {found}: name one of them with --{role}-column", file.display())]
    MissingColumn {
        /// Which table.
        file: PathBuf,
        /// The column, or what it is needed for when it was not named.
        wanted: String,
        /// What the column is needed for: text, pair or label.
        role: &'static str,
        /// The columns there are.
        found: String,
    },
    /// Several columns could serve.
    #[error("{}: {found} could each be the {role} column: name one with --{role}-column", file.display())]
    AmbiguousColumn {
        /// Which table.
        file: PathBuf,
        /// What the column is needed for: text, pair or label.
        role: &'static str,
        /// The candidates.
        found: String,
    },
    /// One column was named for two things.
    #[error("{}: --{}-column and --{}-column name the same column `{name}`: name two", file.display(), roles[0], roles[1])]
    SameColumn {
        /// Which table.
        file: PathBuf,
        /// What it was named for: text, pair or label.
        roles: [&'static str; 2],
        /// The column.
        name: String,
    },
    /// Columns were named for data that has none.
    #[error("{place}: no table, so no columns can be named: leave out {options}")]
    NoColumns {
        /// Which data set.
        place: String,
        /// The options that name columns.
        options: String,
    },
    /// A line of a table cannot be read.
    #[error("{}:{line}: {reason}", file.display())]
    Line {
        /// Which file.
        file: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// The fact and the remedy.
        reason: String,
    },
    /// A binary file is not what its name says.
    #[error("{}: {reason}", file.display())]
    Corrupt {
        /// Which file.
        file: PathBuf,
        /// The fact and the remedy.
        reason: String,
    },
    /// There is nothing to learn from.
    #[error("{place}: no examples{skipped}: give at least a few of each class")]
    Empty {
        /// Which file or folder.
        place: String,
        /// What was skipped, or nothing.
        skipped: String,
    },
    /// There is nothing to tell apart.
    #[error("{place}: every example has the class `{class}`: at least two classes are needed")]
    OneClass {
        /// Which file or folder.
        place: String,
        /// The class.
        class: String,
    },
    /// A tokeniser cannot be read or made.
    #[error("tokeniser: {0}")]
    Tokenizer(String),
    /// What was asked of the data does not fit it.
    #[error("{0}")]
    Mismatch(String),
}

impl DataError {
    /// Adds the file to what the system said about it.
    pub fn unreadable(file: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let file = file.into();
        |reason| Self::Unreadable { file, reason }
    }

    /// An error about one line of a file.
    pub fn line(file: impl Into<PathBuf>, line: usize, reason: impl Into<String>) -> Self {
        let (file, reason) = (file.into(), reason.into());
        Self::Line { file, line, reason }
    }

    /// An error about a binary file.
    pub fn corrupt(file: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        let (file, reason) = (file.into(), reason.into());
        Self::Corrupt { file, reason }
    }
}
