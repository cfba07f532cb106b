//! Where the file says what: the lines of tables and keys, for those who explain a decision by the line that made it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where one table and its keys stand in a config file. Two tables that say the same are equal wherever they stand.
#[derive(Clone, Debug, Default)]
pub struct Written(Option<Arc<Lines>>);

#[derive(Debug)]
struct Lines {
    file: PathBuf,
    table: Option<usize>,
    keys: Vec<(Box<str>, usize)>,
}

impl Written {
    /// Of a table in this file: its own line and those of its keys, from 1.
    pub(super) fn new(file: &Path, table: Option<usize>, keys: Vec<(Box<str>, usize)>) -> Self {
        Self(Some(Arc::new(Lines {
            file: file.to_owned(),
            table,
            keys,
        })))
    }

    /// `proxy.toml:12`: where the table stands. `None`: it is built in.
    pub fn table(&self) -> Option<String> {
        let lines = self.0.as_ref()?;
        lines.table.map(|line| lines.at(line))
    }

    /// `proxy.toml:14`: where this key stands. `None`: it is not written, its default holds.
    pub fn key(&self, name: &str) -> Option<String> {
        let lines = self.0.as_ref()?;
        let (_, line) = lines.keys.iter().find(|(known, _)| **known == *name)?;
        Some(lines.at(*line))
    }
}

impl Lines {
    fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.file.display())
    }
}

impl PartialEq for Written {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Written {}
