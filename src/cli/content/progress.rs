//! Bars on stderr for work that takes long, on a terminal only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar of bytes up to `total`, 0 if that is not known. Draws nothing if `hidden`.
pub fn bytes_bar(total: u64, hidden: bool) -> ProgressBar {
    let (template, length) = match total {
        0 => ("{spinner} {binary_bytes} {msg}, {elapsed}, {binary_bytes_per_sec}", None),
        total => ("{bar:40} {binary_bytes}/{binary_total_bytes} {msg}, {elapsed}, {binary_bytes_per_sec}", Some(total)),
    };
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(length, target);
    bar.enable_steady_tick(Duration::from_millis(200));
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
