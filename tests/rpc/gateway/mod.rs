//! Content under `/ipfs/`: cases and verdicts after the specifications of HTTP gateways, and the bounds.

mod fetching;
mod files;
mod routing;
mod scene;
mod trustless;
