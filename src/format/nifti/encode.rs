//! The fields of a NIfTI header and where they stand in its two layouts.
//!
//! Offsets are those of `nifti1.h` and `nifti2.h`; everything is little endian. Decides nothing.

use super::HEADER_LEN_BYTES;
use super::timing::Timing;

/// What differs from array to array; both layouts say the same.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Fields {
    pub(super) dim: [i64; 8],
    /// Handedness of the qform, then the step of each dimension.
    pub(super) pixdim: [f64; 8],
    pub(super) datatype: i16,
    pub(super) bitpix: i16,
    pub(super) xyzt_units: u8,
    /// ASCII, at most 79 bytes.
    pub(super) descrip: String,
    pub(super) timing: Timing,
    pub(super) qform_code: i16,
    pub(super) sform_code: i16,
    pub(super) quatern: [f64; 3],
    pub(super) qoffset: [f64; 3],
    pub(super) srow: [[f64; 4]; 3],
}

/// A header being written: fields go to constant places within it.
struct Page(Vec<u8>);

impl Page {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        for (place, byte) in self.0.iter_mut().skip(at).zip(bytes) {
            *place = *byte;
        }
    }

    /// Numbers one after the other, nearest float32.
    fn put_f32s(&mut self, at: usize, values: &[f64]) {
        for (n, value) in values.iter().enumerate() {
            self.put(at + 4 * n, &(*value as f32).to_le_bytes());
        }
    }

    fn put_f64s(&mut self, at: usize, values: &[f64]) {
        for (n, value) in values.iter().enumerate() {
            self.put(at + 8 * n, &value.to_le_bytes());
        }
    }

    fn put_i64s(&mut self, at: usize, values: &[i64]) {
        for (n, value) in values.iter().enumerate() {
            self.put(at + 8 * n, &value.to_le_bytes());
        }
    }
}

impl Fields {
    /// NIfTI-1: 348 bytes, four zero bytes for "no extensions", padding. The lengths fit 16 bits.
    pub(super) fn nifti1(&self) -> Vec<u8> {
        let mut page = Page(vec![0; HEADER_LEN_BYTES]);
        page.put(0, &348_i32.to_le_bytes());
        // `regular`, which Analyze 7.5 asked for.
        page.put(38, b"r");
        page.put(39, &[self.timing.dim_info]);
        for (n, len) in self.dim.iter().enumerate() {
            page.put(40 + 2 * n, &(*len as i16).to_le_bytes());
        }
        page.put(70, &self.datatype.to_le_bytes());
        page.put(72, &self.bitpix.to_le_bytes());
        page.put(74, &(self.timing.slice_start as i16).to_le_bytes());
        page.put_f32s(76, &self.pixdim);
        // vox_offset, scl_slope, scl_inter
        page.put_f32s(108, &[HEADER_LEN_BYTES as f64, 1.0, 0.0]);
        page.put(120, &(self.timing.slice_end as i16).to_le_bytes());
        page.put(122, &[self.timing.slice_code, self.xyzt_units]);
        page.put_f32s(132, &[self.timing.slice_duration_s]);
        page.put(148, self.descrip_bytes());
        page.put(252, &self.qform_code.to_le_bytes());
        page.put(254, &self.sform_code.to_le_bytes());
        page.put_f32s(256, &self.quatern);
        page.put_f32s(268, &self.qoffset);
        page.put_f32s(280, self.srow.as_flattened());
        page.put(344, b"n+1\0");
        page.0
    }

    /// NIfTI-2: 540 bytes, four zero bytes for "no extensions", padding.
    pub(super) fn nifti2(&self) -> Vec<u8> {
        let mut page = Page(vec![0; HEADER_LEN_BYTES]);
        page.put(0, &540_i32.to_le_bytes());
        page.put(4, b"n+2\0\r\n\x1a\n");
        page.put(12, &self.datatype.to_le_bytes());
        page.put(14, &self.bitpix.to_le_bytes());
        page.put_i64s(16, &self.dim);
        page.put_f64s(104, &self.pixdim);
        page.put_i64s(168, &[HEADER_LEN_BYTES as i64]);
        // scl_slope, scl_inter
        page.put_f64s(176, &[1.0, 0.0]);
        page.put_f64s(208, &[self.timing.slice_duration_s]);
        page.put_i64s(224, &[self.timing.slice_start, self.timing.slice_end]);
        page.put(240, self.descrip_bytes());
        page.put(344, &i32::from(self.qform_code).to_le_bytes());
        page.put(348, &i32::from(self.sform_code).to_le_bytes());
        page.put_f64s(352, &self.quatern);
        page.put_f64s(376, &self.qoffset);
        page.put_f64s(400, self.srow.as_flattened());
        page.put(496, &i32::from(self.timing.slice_code).to_le_bytes());
        page.put(500, &i32::from(self.xyzt_units).to_le_bytes());
        page.put(524, &[self.timing.dim_info]);
        page.0
    }

    /// One byte of the 80 stays zero, for readers that look for the end.
    fn descrip_bytes(&self) -> &[u8] {
        let bytes = self.descrip.as_bytes();
        &bytes[..bytes.len().min(79)]
    }
}
