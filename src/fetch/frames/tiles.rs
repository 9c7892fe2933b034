//! Frames that lie in a larger stored frame (Siemens MOSAIC): decoded once, cut many times.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::Error;
use crate::dicom::ImagePixel;
use crate::volume::Tile;

/// Decoded frames kept a stream: readers of one volume are rarely at more places at once.
const KEPT_MAX: usize = 4;

/// Bytes of them, which the cache's budget does not count: mosaics are of a few MB. One larger frame is
/// kept all the same, or it would be decoded for each of its tiles.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Index of the record and of the frame in it.
type Key = (usize, u32);

/// The last few stored frames that were decoded whole.
#[derive(Default)]
pub(super) struct Wholes {
    kept: Mutex<VecDeque<(Key, Arc<Vec<u8>>)>>,
}

impl Wholes {
    /// The frame of this key. Nothing is locked while it is made: two that want it at the same
    /// moment both make it, and the second's is dropped.
    pub(super) fn get_or_make(
        &self,
        key: Key,
        make: impl FnOnce() -> Result<Vec<u8>, Error>,
    ) -> Result<Arc<Vec<u8>>, Error> {
        if let Some(found) = self.find(key) {
            return Ok(found);
        }
        let made = Arc::new(make()?);
        if let Some(found) = self.find(key) {
            return Ok(found);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((key, made.clone()));
        let len_bytes = |entry: &(Key, Arc<Vec<u8>>)| entry.1.len();
        while kept.len() > KEPT_MAX
            || kept.len() > 1 && kept.iter().map(len_bytes).sum::<usize>() > KEPT_BYTES_MAX
        {
            kept.pop_front();
        }
        Ok(made)
    }

    fn find(&self, key: Key) -> Option<Arc<Vec<u8>>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|entry| entry.0 == key);
        found.map(|entry| entry.1.clone())
    }
}

/// Copies a tile of `shape` (`y, x` or `y, x, c`) out of a decoded frame. `None` when it does not
/// lie within the frame.
pub(super) fn cut(
    whole: &[u8],
    image: &ImagePixel,
    tile: Tile,
    shape: &[u64],
    out: &mut [u8],
) -> Option<()> {
    let &[rows, columns, ..] = shape else {
        return None;
    };
    let (rows, columns) = (usize::try_from(rows).ok()?, usize::try_from(columns).ok()?);
    let pixel_bytes = image.sample_len_bytes() * usize::from(image.samples_per_pixel);
    let row_bytes = (image.columns as usize).checked_mul(pixel_bytes)?;
    let (first_row, first_column) = (tile.row as usize, tile.column as usize);
    let length = columns.checked_mul(pixel_bytes)?;
    let is_within = first_row.checked_add(rows)? <= image.rows as usize
        && first_column.checked_add(columns)? <= image.columns as usize
        && rows.checked_mul(length)? == out.len();
    if !is_within || length == 0 {
        return None;
    }
    for (row, line) in out.chunks_exact_mut(length).enumerate() {
        let start = (first_row + row) * row_bytes + first_column * pixel_bytes;
        line.copy_from_slice(whole.get(start..start + length)?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::cpu::tests::gray;

    #[test]
    fn cuts_what_lies_within() {
        let image = gray(4, 6, 16);
        let whole: Vec<u8> = (0..24_u16).flat_map(u16::to_le_bytes).collect();
        let tile = |row, column| Tile { row, column };
        let mut out = [0; 12];
        assert_eq!(cut(&whole, &image, tile(2, 3), &[2, 3], &mut out), Some(()));
        let values: Vec<u8> = out.iter().step_by(2).copied().collect();
        assert_eq!(values, [15, 16, 17, 21, 22, 23]);
        for outside in [tile(3, 3), tile(2, 4), tile(u32::MAX, 0)] {
            assert_eq!(cut(&whole, &image, outside, &[2, 3], &mut out), None);
        }
        assert_eq!(cut(&whole, &image, tile(0, 0), &[2, 2], &mut out), None);
        assert_eq!(
            cut(&whole[..40], &image, tile(2, 3), &[2, 3], &mut out),
            None
        );
    }

    #[test]
    fn keeps_the_last_few() {
        let wholes = Wholes::default();
        let make = |n: u8| wholes.get_or_make((0, n.into()), || Ok(vec![n])).unwrap();
        for n in 0..=KEPT_MAX as u8 {
            assert_eq!(*make(n), [n]);
        }
        assert!(wholes.find((0, 0)).is_none());
        assert!(wholes.find((0, 1)).is_some());
        let huge = wholes.get_or_make((2, 0), || Ok(vec![0; KEPT_BYTES_MAX + 1]));
        assert!(huge.is_ok() && wholes.find((2, 0)).is_some());
        assert!(wholes.find((0, KEPT_MAX as u32)).is_none(), "no room");
        let failed = wholes.get_or_make((1, 0), || Err(Error::Malformed("x".into())));
        assert!(failed.is_err());
    }
}
