//! A grey picture in a terminal: two rows of pixels a line, with half blocks where colours work.

use std::io::{IsTerminal, Result, Write};

/// Columns of the picture.
const WIDTH: usize = 64;

/// Dark to bright, for a terminal without colours and for files.
const RAMP: &[u8] = b" .:-=+*#%@";

/// Draws `values`, row-major with `columns` a row, scaled to their range.
pub(super) fn show(out: &mut dyn Write, values: &[f64], columns: usize) -> Result<()> {
    let rows = values.len().checked_div(columns).unwrap_or(0);
    if rows == 0 {
        return Ok(());
    }
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let height = (WIDTH * rows / columns).max(2);
    let grey = |y: usize, x: usize| {
        let value = values[(y * rows / height) * columns + x * columns / WIDTH];
        if high > low {
            (value - low) / (high - low)
        } else {
            0.0
        }
    };
    let colours = std::io::stdout().is_terminal();
    for y in (0..height - 1).step_by(2) {
        write!(out, "     ")?;
        for x in 0..WIDTH {
            let (upper, lower) = (grey(y, x), grey(y + 1, x));
            if colours {
                write!(
                    out,
                    "\x1b[38;5;{};48;5;{}m\u{2580}",
                    ansi(upper),
                    ansi(lower)
                )?;
            } else {
                let level = (f64::midpoint(upper, lower) * (RAMP.len() - 1) as f64).round();
                out.write_all(&[RAMP[level as usize]])?;
            }
        }
        writeln!(out, "{}", if colours { "\x1b[0m" } else { "" })?;
    }
    Ok(())
}

/// One of the 24 greys of the 256-colour palette.
fn ansi(level: f64) -> u8 {
    232 + (level * 23.0).round() as u8
}
