//! Frames that a device can read from their files by itself: samples as they are, at a place that the
//! header gives.

use super::FrameSource;
use super::offload::samples;
use crate::decode::gpu::{Job, Refusal, plan_native};
use crate::dicom::{ImagePixel, syntax};
use crate::fetch::{DirectFrame, Unfit};
use crate::volume::Frame;

impl FrameSource {
    /// What a device is to make of a frame that it reads itself; from headers alone.
    ///
    /// # Errors
    /// Why it is none of those.
    pub(super) fn direct_job(&self, frame: &Frame) -> Result<Job, Refusal> {
        let stored = frame.stored.filter(|stored| stored.tile.is_none());
        let stored = stored.ok_or(Refusal::Layout)?;
        let record = &self.volume.records[stored.record];
        let image = record.instance.image.as_ref().ok_or(Refusal::Layout)?;
        let uid = &record.instance.transfer_syntax_uid;
        let is_plain = syntax::by_uid(uid).is_some_and(|facts| !facts.encapsulated);
        if !is_plain || record.instance.pixel_data.is_none() {
            return Err(Refusal::TransferSyntax);
        }
        let show = self.show_on_device(frame)?;
        let len_bytes = image.frame_len_bytes().ok_or(Refusal::TooLarge)? as u64;
        if samples(image) != Some(self.shown_samples()) {
            return Err(Refusal::Layout);
        }
        let codec = plan_native(uid, image, &show, len_bytes)?;
        Ok(Job {
            codec,
            image: ImagePixel::clone(image),
            show,
            encoded: 0..len_bytes,
            out: 0..0,
        })
    }

    /// The same with its file opened, and found to be the one that was indexed.
    ///
    /// # Errors
    /// [`Unfit`].
    pub(super) fn open_direct(&self, frame: &Frame) -> Result<DirectFrame<'_>, Unfit> {
        let job = self.direct_job(frame)?;
        let stored = frame.stored.ok_or(Refusal::Layout)?;
        let record = &self.volume.records[stored.record];
        let opened = self.open(stored.record, record)?;
        let wanted = self.wanted(record, &job.image, stored);
        let place = opened.in_place(&wanted, job.encoded.end)?;
        let (file, file_offset_bytes) = place.ok_or(Refusal::Layout)?;
        let verify = move || Ok(self.source.verify(opened.file(), record)?);
        Ok(DirectFrame {
            file,
            file_offset_bytes,
            job,
            verify: Box::new(verify),
        })
    }
}
