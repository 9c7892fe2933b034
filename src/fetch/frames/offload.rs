//! Frames described for a device: what it needs to make them, and why some are none for it.

use super::FrameSource;
use crate::decode::gpu::{Job, Refusal, Show, plan};
use crate::dicom::ImagePixel;
use crate::fetch::{Prepared, Unfit};
use crate::volume::{Dtype, Frame, Transform, Variant};

/// Largest whole number that f64 tells from its neighbours.
const WHOLE_MAX: f64 = (1_u64 << 52) as f64;

impl FrameSource {
    /// Describes a frame; its encoded bytes, read and verified as for the CPU, go to the start of
    /// `room`.
    ///
    /// # Errors
    /// [`Unfit`].
    pub(super) fn offload(
        &self,
        frame: &Frame,
        room: &mut [u8],
        exact: bool,
    ) -> Result<Prepared, Unfit> {
        let stored = frame.stored.filter(|stored| stored.tile.is_none());
        let stored = stored.ok_or(Refusal::Layout)?;
        let record = &self.volume.records[stored.record];
        let image = record.instance.image.as_ref().ok_or(Refusal::Layout)?;
        let show = self.show_on_device(frame)?;
        let is_whole = samples(image) == Some(self.shown_samples());
        if !is_whole {
            return Err(Refusal::Layout.into());
        }
        let opened = self.open(stored.record, record)?;
        let wanted = self.wanted(record, image, stored);
        let len_bytes = opened.encoded_len_bytes(&wanted)?;
        let room = room.get_mut(..len_bytes).ok_or(Unfit::NoRoom)?;
        let encoded = opened.read_verified(&wanted, room)?;
        if encoded.first_bit != 0 {
            return Err(Refusal::Samples.into());
        }
        let uid = opened.syntax.uid;
        let planned = |exact| plan(uid, image, &show, encoded.bytes, exact);
        let (codec, is_lossy) = match planned(true) {
            Err(Refusal::Lossy) if !exact => (planned(false)?, true),
            plan => (plan?, false),
        };
        let job = Job {
            codec,
            image: image.clone(),
            show,
            encoded: 0..encoded.bytes.len() as u64,
            out: 0..0,
        };
        Ok(Prepared { job, is_lossy })
    }

    /// The value rule as a device takes it.
    pub(super) fn show_on_device(&self, frame: &Frame) -> Result<Show, Refusal> {
        let (slope, intercept) = (frame.slope, frame.intercept);
        let dtype = self.volume.values.dtype;
        match (self.variant, self.volume.values.transform) {
            (Variant::Stored, _) | (Variant::Values, Transform::Identity) => Ok(Show::Stored),
            (Variant::Values, Transform::Offset) => {
                let is_whole = intercept.fract() == 0.0 && intercept.abs() <= WHOLE_MAX;
                let fits = slope == 1.0 && is_whole && matches!(dtype, Dtype::I16 | Dtype::I32);
                let intercept = intercept as i64;
                fits.then_some(Show::Offset { intercept, dtype })
                    .ok_or(Refusal::Values)
            }
            (Variant::Values, Transform::Linear) => {
                let is_finite = slope.is_finite() && intercept.is_finite();
                let fits = is_finite && matches!(dtype, Dtype::F32 | Dtype::F64);
                let show = Show::Linear {
                    slope,
                    intercept,
                    dtype,
                };
                fits.then_some(show).ok_or(Refusal::Values)
            }
            _ => Err(Refusal::Values),
        }
    }

    /// Samples of a frame as it is shown.
    pub(super) fn shown_samples(&self) -> u64 {
        self.volume.frame_shape(self.variant).iter().product()
    }
}

/// Samples of a frame as it is decoded.
pub(super) fn samples(image: &ImagePixel) -> Option<u64> {
    u64::from(image.rows)
        .checked_mul(u64::from(image.columns))?
        .checked_mul(u64::from(image.samples_per_pixel))
}
