//! Content addressing against what Kubo makes, and against hostile input.

mod arbitrary;
mod hostile;
mod reading;
mod vectors;
