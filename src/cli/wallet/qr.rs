//! A payment's file as a QR code (ISO/IEC 18004), to carry it to a machine without a network by camera.

use std::io::IsTerminal;

use anyhow::Context;
use qrcode::{Color, EcLevel, QrCode};
use serde_json::{Value, json};

use crate::cli::Common;
use crate::cli::console::colours;
use crate::consensus::params::Params;
use crate::primitives::amount::counted;
use crate::wallet::payment_file::PaymentFile;

/// Light modules around the code, which readers need.
const QUIET: usize = 4;
/// Most bytes that a code of the lowest level of correction holds.
const MAX_BYTES: usize = 2_953;
/// Black on white, whatever the terminal's own colours are.
const BLACK_ON_WHITE: &str = "\x1b[30;107m";
const USUAL: &str = "\x1b[0m";

/// Prints the code of a payment's file.
///
/// # Errors
/// If the payment spends so many coins that its text does not fit, or stdout cannot be written to.
pub fn print(file: &PaymentFile, params: &Params, common: &Common) -> anyhow::Result<()> {
    // The same object without spaces, so that more fits.
    let compact: Value = serde_json::from_str(&file.to_json(params)).context("the payment's own text is no JSON")?;
    let text = compact.to_string();
    let code = QrCode::with_error_correction_level(&text, EcLevel::L).with_context(|| {
        format!("the payment has {}, and a QR code holds {MAX_BYTES} at most", counted(text.len(), "byte"))
    })?;
    let rows = modules(&code);
    let has_colours = std::io::stdout().is_terminal() && colours();
    common.print(
        || drawn(&rows, has_colours),
        || {
            let digits = |row: &Vec<bool>| row.iter().map(|dark| if *dark { '1' } else { '0' }).collect::<String>();
            json!({ "text": text, "modules": rows.iter().map(digits).collect::<Vec<_>>() })
        },
    )
}

/// The rows of the code with its margin; `true` is dark.
fn modules(code: &QrCode) -> Vec<Vec<bool>> {
    let width = code.width();
    let dark = |row: usize, column: usize| {
        let (row, column) = (row.checked_sub(QUIET)?, column.checked_sub(QUIET)?);
        (row < width && column < width).then(|| code[(column, row)] == Color::Dark)
    };
    let size = width + 2 * QUIET;
    (0..size).map(|row| (0..size).map(|column| dark(row, column).unwrap_or(false)).collect()).collect()
}

/// Two rows in a line of half blocks. Without colours the blocks are the light modules, for a dark terminal; readers
/// accept the inverse too.
fn drawn(rows: &[Vec<bool>], has_colours: bool) -> String {
    let line = |pair: &[Vec<bool>]| {
        let cells = pair[0].iter().enumerate().map(|(column, upper)| {
            // The row below the last is light.
            let lower = pair.get(1).is_some_and(|row| row[column]);
            match (*upper == has_colours, lower == has_colours) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            }
        });
        let text: String = cells.collect();
        if has_colours { format!("{BLACK_ON_WHITE}{text}{USUAL}") } else { text }
    };
    rows.chunks(2).map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_blocks_hold_every_module() {
        let code = QrCode::with_error_correction_level("a payment", EcLevel::L).unwrap();
        let rows = modules(&code);
        assert_eq!((rows.len(), rows[0].len()), (21 + 8, 21 + 8));
        // A corner: seven dark modules, then a light one.
        assert_eq!(rows[QUIET][..QUIET + 8], [[false; QUIET].as_slice(), &[true; 7], &[false]].concat());
        for has_colours in [false, true] {
            let text = drawn(&rows, has_colours).replace(BLACK_ON_WHITE, "").replace(USUAL, "");
            let mut read = Vec::new();
            for line in text.lines() {
                let ink = |both: [char; 2]| line.chars().map(|c| both.contains(&c) == has_colours).collect::<Vec<_>>();
                read.extend([ink(['█', '▀']), ink(['█', '▄'])]);
            }
            assert!(read.pop().unwrap().iter().all(|dark| !dark), "there is an odd number of rows");
            assert_eq!(read, rows, "{has_colours}");
        }
    }
}
