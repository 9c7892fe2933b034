//! What makes frames: the side of a volume that the workers see.
//!
//! Bytes of a frame into a place that is given, and what there is to say of a frame without making it.
//! [`super::FrameSource`] makes those of an archive; tests have producers that are scripted.

use super::{DirectFrame, Error, Prepared, Unfit};
use crate::decode::gpu::Refusal;

/// Makes the frames of one slab.
pub trait Produce: Send + Sync {
    /// Writes all of `out` with the bytes of `frame`, as they stand in the slab.
    ///
    /// # Errors
    /// Any: then nothing of `out` is ever shown.
    fn produce(&self, frame: usize, out: &mut [u8]) -> Result<(), Error>;

    /// Can `frame` be had at all, as far as is known without a look at its source? To be asked before
    /// memory is taken for it: a file of a kilobyte may claim frames of a gigabyte.
    ///
    /// # Errors
    /// Why it can not.
    fn admit(&self, frame: usize) -> Result<(), Error> {
        let _ = frame;
        Ok(())
    }

    /// Is the source of `frame` still what it was when it was indexed? To be asked before bytes are
    /// shown that were made from it earlier.
    ///
    /// # Errors
    /// [`Error::Changed`] when it is not, and whatever keeps that from being told. What has no
    /// source never changes.
    fn verify(&self, frame: usize) -> Result<(), Error> {
        let _ = frame;
        Ok(())
    }

    /// Names the frame for a finding: the volume and what its source is.
    fn describe(&self, frame: usize) -> String;

    /// Who makes `frame` on the CPU, by name; `None` for what is not decoded.
    fn decoder(&self, frame: usize) -> Option<&'static str> {
        let _ = frame;
        None
    }

    /// The kind of coding that this undoes; `None` for what is not decoded.
    fn codec(&self, frame: usize) -> Option<&'static str> {
        let _ = frame;
        None
    }

    /// Describes `frame` for a device: its encoded bytes go to the start of `room`. With `exact`
    /// nothing is described that a device would make other bytes of than [`Produce::produce`].
    ///
    /// # Errors
    /// [`Unfit`], which is never the reader's trouble.
    fn prepare(&self, frame: usize, room: &mut [u8], exact: bool) -> Result<Prepared, Unfit> {
        let _ = (frame, room, exact);
        Err(Unfit::Refused(Refusal::Layout))
    }

    /// Whether a device could read `frame` from its file itself, by its headers alone.
    fn is_direct(&self, frame: usize) -> bool {
        let _ = frame;
        false
    }

    /// Opens the file of such a frame for a device.
    ///
    /// # Errors
    /// [`Unfit`], which is never the reader's trouble.
    fn direct(&self, frame: usize) -> Result<DirectFrame<'_>, Unfit> {
        let _ = frame;
        Err(Unfit::Refused(Refusal::Layout))
    }
}
