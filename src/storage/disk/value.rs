//! A value, in a page or among changes: its bytes, or its place in the file of large values.

use super::large::Place;

/// A value, or where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A value that is kept beside its key.
    Small(Vec<u8>),
    /// In the file of large values.
    Large(Place),
}

/// The same, borrowed from a page or a log of changes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stored<'a> {
    /// A value that is kept beside its key.
    Small(&'a [u8]),
    /// In the file of large values.
    Large(Place),
}

impl Value {
    pub(super) fn as_stored(&self) -> Stored<'_> {
        match self {
            Self::Small(bytes) => Stored::Small(bytes),
            Self::Large(place) => Stored::Large(*place),
        }
    }
}

impl Stored<'_> {
    pub(super) fn to_value(self) -> Value {
        match self {
            Self::Small(bytes) => Value::Small(bytes.to_vec()),
            Self::Large(place) => Value::Large(place),
        }
    }
}
