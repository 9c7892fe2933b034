//! The verdict on volumes that no decoder here serves.
//!
//! Which transfer syntaxes are decoded is known to the registry alone, so [`crate::volume`], which
//! judges everything else, cannot say it. Reads headers only.

use super::decoder_for;
use crate::volume::{Finding, Status, Volume};

const CODE: &str = "unsupported_transfer_syntax";

/// Reports the files of each volume whose transfer syntax is not decoded, and makes the verdict
/// `bad`: reading their frames fails, and where all are such the volume shows no arrays.
pub fn report_unsupported(volumes: &mut [Volume]) {
    for volume in volumes {
        let refusals = volume.records.iter().filter_map(|record| {
            let uid = &record.instance.transfer_syntax_uid;
            decoder_for(uid).err()
        });
        let refusals: Vec<_> = refusals.collect();
        let said = volume.findings.iter().any(|finding| finding.code == CODE);
        let Some(first) = refusals.first().filter(|_| !said) else {
            continue;
        };
        volume.findings.push(Finding {
            code: CODE,
            detail: format!(
                "{} of {} files: {first}",
                refusals.len(),
                volume.records.len()
            ),
        });
        volume.status = Status::Bad;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::archive::{Record, SourceIdentity};
    use crate::dicom::{ImagePixel, Instance, Photometric, PixelDataLocation, PixelElement};

    fn built(transfer_syntax_uid: &str) -> Volume {
        let image = ImagePixel {
            rows: 1,
            columns: 2,
            number_of_frames: 1,
            samples_per_pixel: 1,
            photometric: Photometric::Monochrome2,
            planar_configuration: 0,
            bits_allocated: 8,
            bits_stored: 8,
            high_bit: 7,
            signed: false,
            element: PixelElement::PixelData,
        };
        let record = Record {
            path: "a".into(),
            inside: None,
            identity: SourceIdentity {
                size_bytes: 1000,
                mtime_ns: 0,
                inode: 0,
            },
            instance: Instance {
                series_instance_uid: "1.2".into(),
                transfer_syntax_uid: transfer_syntax_uid.into(),
                image: Some(image),
                pixel_data: Some(PixelDataLocation {
                    offset_bytes: 100,
                    length_bytes: None,
                    extended_offset_table: None,
                }),
                ..Instance::default()
            },
        };
        let mut volumes = crate::volume::build(&[Arc::new(record)]).volumes;
        report_unsupported(&mut volumes);
        volumes.remove(0)
    }

    #[test]
    fn what_is_not_decoded_is_bad_and_says_so_once() {
        for (uid, expected) in [
            ("1.2.840.10008.1.2.5", 0),
            // Arithmetic-coded JPEG, JPIP, video (which `volume` reports), private, none.
            ("1.2.840.10008.1.2.4.52", 1),
            ("1.2.840.10008.1.2.4.94", 1),
            ("1.2.840.10008.1.2.4.102", 1),
            ("1.2.3.4", 1),
            ("", 1),
        ] {
            let volume = built(uid);
            let found = volume.findings.iter().filter(|f| f.code == CODE).count();
            assert_eq!(found, expected, "{uid}");
            assert!(expected == 0 || volume.status == Status::Bad, "{uid}");
        }
    }
}
