//! Ties jaq's interpreter to the meter.
//!
//! The interpreter asks its data for the table of terms each time it evaluates one, whatever the term, and clones that data
//! for each place where it will go on later. Both are paid for here, so that no program gets past the meter.

use jaq_core::{DataT, Lut, data::HasLut};

use super::{
    meter::{self, Context},
    value::Value,
};

/// The kind of data that programs run on here.
#[derive(Debug)]
pub(super) struct Jq;

impl DataT for Jq {
    type V<'a> = Value;
    type Data<'a> = Scope<'a>;
}

/// The table of terms, metered.
pub(super) struct Scope<'a> {
    table: &'a Lut<Jq>,
    _context: Context,
}

impl<'a> Scope<'a> {
    pub(super) fn new(table: &'a Lut<Jq>) -> Self {
        Self {
            table,
            _context: Context::new(),
        }
    }
}

impl Clone for Scope<'_> {
    fn clone(&self) -> Self {
        Self::new(self.table)
    }
}

impl<'a> HasLut<'a, Jq> for Scope<'a> {
    fn lut(&self) -> &'a Lut<Jq> {
        meter::step();
        self.table
    }
}
