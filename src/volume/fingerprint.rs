//! What tells two versions of a volume apart: a digest of everything its bytes follow from.
//!
//! Caches keep decoded bytes under it, so it covers the source files as they were indexed, which
//! frame of them stands where, and the value rule. It does not cover the decoders.

use sha2::{Digest, Sha256};

use super::{Frame, Volume};

/// SHA-256 over the sources, the frames and the value rule of a volume. Equal for volumes whose
/// bytes are the same as long as no source file changes without a change of size or time.
pub(super) fn fingerprint(volume: &Volume) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut words = |words: &[u64]| {
        for word in words {
            hash.update(word.to_le_bytes());
        }
    };
    words(&[volume.records.len() as u64, volume.frames.len() as u64]);
    words(&volume.shape);
    for frame in &volume.frames {
        words(&frame_words(frame));
    }
    // The rule's Debug text names each of its parts; two rules that differ differ in it.
    hash.update(format!("{:?} {:?}", volume.values, volume.stored_dtype));
    for record in &volume.records {
        let path = record.path.as_os_str().as_encoded_bytes();
        hash.update((path.len() as u64).to_le_bytes());
        hash.update(path);
        hash.update(record.identity.size_bytes.to_le_bytes());
        hash.update(record.identity.mtime_ns.to_le_bytes());
        hash.update(record.instance.transfer_syntax_uid.as_bytes());
        hash.update(record.instance.sop_instance_uid.as_bytes());
    }
    hash.finalize().into()
}

fn frame_words(frame: &Frame) -> [u64; 7] {
    let rescale = [frame.slope.to_bits(), frame.intercept.to_bits()];
    let Some(stored) = frame.stored else {
        return [rescale[0], rescale[1], 0, 0, 0, 0, 0];
    };
    let tile = stored.tile.map_or([0, 0, 0], |tile| {
        [1, u64::from(tile.row), u64::from(tile.column)]
    });
    let place = [stored.record as u64 + 1, u64::from(stored.frame_index)];
    [
        rescale[0], rescale[1], place[0], place[1], tile[0], tile[1], tile[2],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::tests::fixture::{only, slice};

    #[test]
    fn it_changes_with_a_source_and_with_a_frame_only() {
        let slices = || (0..3).map(|n| slice(n, n as f64)).collect::<Vec<_>>();
        let volume = only(slices());
        assert_eq!(volume.fingerprint, only(slices()).fingerprint);
        let renamed = Volume {
            name: "other".to_owned(),
            ..volume.clone()
        };
        assert_eq!(fingerprint(&renamed), volume.fingerprint);

        let mut touched = slices();
        touched[1].identity.mtime_ns += 1;
        assert_ne!(only(touched).fingerprint, volume.fingerprint);

        let mut swapped = volume.clone();
        swapped.frames.swap(0, 1);
        assert_ne!(fingerprint(&swapped), volume.fingerprint);
        let mut rescaled = volume.clone();
        rescaled.frames[2].intercept += 1.0;
        assert_ne!(fingerprint(&rescaled), volume.fingerprint);
    }
}
