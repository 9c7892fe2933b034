//! Whether the pixel element is written as the transfer syntax says.
//!
//! What is not is told, or leaves no image where it would be read wrongly. Looks at the element's header,
//! never at its value.

use super::Collector;
use super::image::Issue;
use crate::dicom::{ImagePixel, PixelDataLocation, syntax};

impl Collector {
    /// Compares the pixel element with the image and the transfer syntax.
    pub(super) fn check_pixels(
        &mut self,
        location: Option<PixelDataLocation>,
        issues: &mut Vec<Issue>,
    ) {
        let (Some(image), Some(location)) = (&self.instance.image, location) else {
            return;
        };
        // Words of OW hold two such samples, which big endian turns round (PS3.5 D.2).
        if self.is_big_endian && self.has_words && image.bits_allocated <= 8 {
            let detail = "samples of 8 bits or 1 in big endian words are not read".to_owned();
            issues.push(("unsupported_transfer_syntax", "PixelData", detail));
            self.instance.image = None;
            return;
        }
        let syntax = syntax::by_uid(&self.instance.transfer_syntax_uid);
        match (
            syntax.map(|syntax| syntax.encapsulated),
            location.length_bytes,
        ) {
            // Programs that decompress and leave the label. Which of the two is true only the bytes
            // can say, and no other reader takes them for samples.
            (Some(true), Some(length)) if native_len_bytes(image) == Some(length) => {
                let detail = "as long as native samples, under a compressed label".to_owned();
                issues.push(("malformed_header", "PixelData", detail));
            }
            (Some(false), None) => {
                let detail = "in fragments, which the transfer syntax does not have".to_owned();
                issues.push(("malformed_header", "PixelData", detail));
            }
            _ => {}
        }
    }
}

/// Bytes of all frames as native samples, with the padding to an even length (PS3.5 8.1.1).
fn native_len_bytes(image: &ImagePixel) -> Option<u64> {
    let samples = match image.is_422() {
        true => 2,
        false => u64::from(image.samples_per_pixel),
    };
    let bits = u64::from(image.rows)
        .checked_mul(image.columns.into())?
        .checked_mul(samples)?
        .checked_mul(image.bits_allocated.into())?
        .checked_mul(image.number_of_frames.into())?;
    bits.div_ceil(8).checked_next_multiple_of(2)
}
