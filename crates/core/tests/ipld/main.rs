//! Content addressing against what Kubo makes, and against hostile input.

mod vectors;
