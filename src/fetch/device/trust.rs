//! How far a device is believed: which of its frames are made on the CPU as well.
//!
//! Pure: told what was compared, asked what is to be. The rule, in this order:
//!
//! 1. A frame of one value is always compared, and one frame of 256 whatever it is.
//! 2. While a device has shown fewer than [`PROVEN_FRAMES`] frames of a codec and kind to be right,
//!    the first [`FIRST_FRAMES`] frames of each series are compared, in whatever batches they come: what is
//!    wrong in every frame, or in one of a few, shows. They count when their whole part was found to be
//!    right: two lanes at one series at the same time do not share them.
//! 3. After that the first frame of each series is compared, for each codec. What is wrong with a device
//!    or its library is wrong with a way of encoding, and shows in each frame that uses it; what is
//!    alike in all frames of a series, and in no series before, shows in any one of them.
//! 4. So a series of one frame is none for a device ([`FRAMES_MIN`]): it would be made on both sides.
//!
//! A single difference ever, in any series, retires the codec for the mount. A fault has the device
//! begin at rule 2 again, since it is another process that answers then; so does the end of a process
//! that nobody was waiting for, and each process is one to which no series was ever compared.

use std::collections::HashMap;

use super::rates::Kind;
use crate::decode::gpu::Codec;

/// Compared frames, none wrong, after which one frame of a series is enough.
pub(super) const PROVEN_FRAMES: u32 = 64;

/// Frames of a series that are compared while nothing is proven. No batch has more of them, so that
/// nobody waits long for the comparisons.
pub(super) const FIRST_FRAMES: usize = 8;

/// Frames of a series for which a device can save any work.
pub(super) const FRAMES_MIN: usize = 2;

/// Frames that a device made as the CPU did.
#[derive(Debug, Default)]
pub(super) struct Trust {
    /// Which of its processes has made them.
    process: u32,
    right: HashMap<(Codec, Kind), u32>,
}

impl Trust {
    /// What is known of this process of the device: nothing, if it was another one that answered last.
    pub(super) fn of(&mut self, process: u32) -> &mut Trust {
        if self.process != process {
            self.forget();
            self.process = process;
        }
        self
    }

    /// The process that has answered last.
    pub(super) fn process(&self) -> u32 {
        self.process
    }

    /// Notes a frame that was made on both sides and was the same.
    pub(super) fn was_right(&mut self, codec: Codec, kind: Kind) {
        let count = self.right.entry((codec, kind)).or_default();
        *count = count.saturating_add(1);
    }

    /// Whether `enough` frames of this codec and kind were right.
    pub(super) fn is_proven(&self, codec: Codec, kind: Kind, enough: u32) -> bool {
        let count = self.right.get(&(codec, kind));
        count.copied().unwrap_or(0) >= enough
    }

    /// The same for any codec that frames of this kind may have.
    pub(super) fn is_any_proven(&self, kind: Kind, enough: u32) -> bool {
        let mut counts = self.right.iter().filter(|((_, of), _)| *of == kind);
        enough == 0 || counts.any(|(_, count)| *count >= enough)
    }

    /// Begins anew.
    pub(super) fn forget(&mut self) {
        self.right.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_codec_is_proven_by_its_own_frames() {
        let (small, large) = (
            Kind::new("openjpeg", 1 << 19),
            Kind::new("openjpeg", 1 << 24),
        );
        let mut trust = Trust::default();
        for _ in 0..3 {
            trust.was_right(Codec::Jpeg2000, small);
        }
        for (codec, kind, enough, expected) in [
            (Codec::Jpeg2000, small, 3, true),
            (Codec::Jpeg2000, small, 4, false),
            (Codec::Htj2k, small, 1, false),
            (Codec::Jpeg2000, large, 1, false),
            (Codec::Rle, large, 0, true),
        ] {
            assert_eq!(trust.is_proven(codec, kind, enough), expected);
        }
        assert!(trust.is_any_proven(small, 3) && !trust.is_any_proven(small, 4));
        assert!(!trust.is_any_proven(large, 1) && trust.is_any_proven(large, 0));
        trust.forget();
        assert!(!trust.is_proven(Codec::Jpeg2000, small, 1));
    }

    #[test]
    fn a_process_is_not_proven_by_another() {
        let kind = Kind::new("openjpeg", 1 << 19);
        let mut trust = Trust::default();
        trust.of(1).was_right(Codec::Htj2k, kind);
        assert!(trust.of(1).is_proven(Codec::Htj2k, kind, 1));
        assert!(!trust.of(2).is_proven(Codec::Htj2k, kind, 1));
        // An answer of the one before that was late.
        trust.of(1).was_right(Codec::Htj2k, kind);
        assert!(!trust.of(2).is_proven(Codec::Htj2k, kind, 1));
        assert_eq!(trust.process(), 2);
    }
}
