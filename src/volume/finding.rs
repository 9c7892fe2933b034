//! The table of finding codes and what each does to the verdict. Knows no records.

use std::collections::BTreeMap;

use super::{Finding, Status};

/// How many files a volume's findings name for one code.
const FILES_NAMED: usize = 8;

/// Every code, the verdict it leads to at least, and what it says. A volume's status is the worst
/// of its findings.
pub const CODES: &[(&str, Status, &str)] = &[
    (
        "assumed_slice_spacing",
        Status::Warn,
        "a single slice states no thickness: 1 mm is used",
    ),
    (
        "assumed_time_axis",
        Status::Warn,
        "InstanceNumber orders the stated number of time points",
    ),
    (
        "burned_in_annotation",
        Status::Warn,
        "de-identified, but the pixels may name the patient",
    ),
    (
        "dataset_encoding_mismatch",
        Status::Warn,
        "the dataset is not written as its transfer syntax says",
    ),
    (
        "decode_error",
        Status::Warn,
        "a frame could not be decoded: reading it fails",
    ),
    (
        "device_mismatch",
        Status::Warn,
        "a device made other values than the CPU: it is not used for the codec any more",
    ),
    (
        "duplicate_instance",
        Status::Warn,
        "a SOP Instance UID occurs more than once",
    ),
    (
        "duplicate_positions",
        Status::Warn,
        "positions repeat: with copies, or (bad) with frames that nothing orders in time",
    ),
    (
        "empty_frames",
        Status::Ok,
        "a segmentation stores no frame where a segment has nothing: zeros",
    ),
    (
        "gantry_tilt",
        Status::Warn,
        "slices are sheared: the affine holds it, axis-aligned formats cannot",
    ),
    (
        "header_issue",
        Status::Warn,
        "the header is odd in a way that has no code of its own",
    ),
    (
        "incomplete_time_point",
        Status::Warn,
        "some time points lack slices and are volumes of their own",
    ),
    (
        "index_unusable",
        Status::Warn,
        "the index could not be used: all headers were read",
    ),
    (
        "internal_error",
        Status::Warn,
        "the program failed at this file: please report it",
    ),
    (
        "link_loop",
        Status::Warn,
        "a symbolic link leads back to a directory above it",
    ),
    (
        "lossy",
        Status::Ok,
        "the pixels went through lossy compression",
    ),
    (
        "malformed",
        Status::Warn,
        "the file breaks the rules of DICOM: it is in no volume",
    ),
    (
        "malformed_attribute",
        Status::Warn,
        "an attribute breaks the rules of its value representation",
    ),
    (
        "malformed_geometry",
        Status::Bad,
        "position, orientation or spacing are absurd",
    ),
    (
        "malformed_header",
        Status::Bad,
        "the header contradicts itself or the file's length",
    ),
    (
        "malformed_palette",
        Status::Bad,
        "PALETTE COLOR without a usable table: indices are shown",
    ),
    (
        "malformed_rescale",
        Status::Bad,
        "the rescale cannot be used: stored values are shown",
    ),
    (
        "missing_attribute",
        Status::Warn,
        "an attribute that the image needs is absent",
    ),
    (
        "missing_slices",
        Status::Warn,
        "gaps that are whole multiples of the spacing",
    ),
    (
        "mixed_echo_time",
        Status::Warn,
        "frames of one volume have other echo times",
    ),
    (
        "mixed_frame_of_reference",
        Status::Warn,
        "slices name different frames of reference",
    ),
    (
        "mixed_rescale",
        Status::Ok,
        "slope or intercept differ from frame to frame",
    ),
    (
        "mixed_units",
        Status::Warn,
        "frames have values in different units",
    ),
    (
        "mosaic_not_split",
        Status::Bad,
        "each frame is a mosaic of slices, shown as it is",
    ),
    (
        "moving_positions",
        Status::Warn,
        "slices move between time points: the affine is that of the first",
    ),
    (
        "no_geometry",
        Status::Warn,
        "nothing says where the frames lie",
    ),
    (
        "no_pixel_data",
        Status::Warn,
        "an image without a pixel element: cut short, or by reference",
    ),
    (
        "no_series_uid",
        Status::Warn,
        "Series Instance UID is absent: the instance stands alone",
    ),
    (
        "nonlinear_real_world_value",
        Status::Warn,
        "the Real World Value Mapping is a table, which is not applied",
    ),
    ("not_an_image", Status::Ok, "the instance holds no image"),
    (
        "not_collinear",
        Status::Bad,
        "the slices' corners do not lie on a line",
    ),
    (
        "packed",
        Status::Warn,
        "the file is encrypted or packed in a way that is not read, in a zip or tar file: it is in no volume",
    ),
    (
        "partial_real_world_value",
        Status::Warn,
        "not all frames have a Real World Value Mapping: none is applied",
    ),
    (
        "segments_not_split",
        Status::Warn,
        "frames of several segments are in stored order",
    ),
    (
        "split_from",
        Status::Ok,
        "the series is more than one volume",
    ),
    (
        "time_axis",
        Status::Ok,
        "positions repeat: this attribute orders them in time",
    ),
    (
        "too_large",
        Status::Bad,
        "the header asks for more than a limit allows",
    ),
    (
        "transfer_syntax_assumed",
        Status::Warn,
        "the file does not state its transfer syntax",
    ),
    ("truncated", Status::Warn, "the file ends early"),
    (
        "truncated_pixel_data",
        Status::Warn,
        "the file ends early: reading the missing frames fails",
    ),
    (
        "uneven_spacing",
        Status::Warn,
        "slices are off an even grid (bad beyond a tenth of a slice)",
    ),
    (
        "unreadable",
        Status::Warn,
        "the file or directory could not be read",
    ),
    (
        "unsupported_photometric",
        Status::Warn,
        "no colour conversion is known: stored samples are shown",
    ),
    (
        "unsupported_transfer_syntax",
        Status::Bad,
        "the pixels are not decoded",
    ),
    (
        "volume_coordinates",
        Status::Warn,
        "positions are in the frame of an ultrasound volume, not in that of the patient",
    ),
];

/// The verdict a code leads to at least; `Warn` for a code that is not in the table.
pub fn severity(code: &str) -> Status {
    CODES
        .iter()
        .find(|entry| entry.0 == code)
        .map_or(Status::Warn, |entry| entry.1)
}

/// The table's own spelling of a code read from a header issue; `header_issue` for an unknown one.
pub fn known_code(code: &str) -> &'static str {
    CODES
        .iter()
        .find(|entry| entry.0 == code)
        .map_or("header_issue", |entry| entry.0)
}

/// Collects the findings of one volume and its verdict.
#[derive(Debug, Clone)]
pub(super) struct Findings {
    pub(super) list: Vec<Finding>,
    pub(super) status: Status,
}

impl Default for Findings {
    fn default() -> Self {
        Findings {
            list: Vec::new(),
            status: Status::Ok,
        }
    }
}

impl Findings {
    /// Adds a finding with the verdict its code has in the table.
    pub(super) fn push(&mut self, code: &'static str, detail: impl Into<String>) {
        self.push_as(code, Status::Ok, detail);
    }

    /// Adds a finding that makes the verdict at least `status`.
    pub(super) fn push_as(
        &mut self,
        code: &'static str,
        status: Status,
        detail: impl Into<String>,
    ) {
        self.status = self.status.max(status).max(severity(code));
        self.list.push(Finding {
            code,
            detail: detail.into(),
        });
    }

    /// Adds what was found in single files: of each code only the first few, and how many more.
    pub(super) fn push_of_files(&mut self, found: Vec<Finding>) {
        let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
        for finding in found {
            let count = counts.entry(finding.code).or_default();
            *count += 1;
            if *count <= FILES_NAMED {
                self.push(finding.code, finding.detail);
            }
        }
        for (code, count) in counts {
            if count > FILES_NAMED {
                self.push(code, format!("and {} more", count - FILES_NAMED));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_unique() {
        assert!(CODES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn many_files_are_counted() {
        let finding = |index: usize| Finding {
            code: ["lossy", "missing_slices"][index % 2],
            detail: index.to_string(),
        };
        let mut findings = Findings::default();
        findings.push_of_files((0..19).map(finding).collect());
        assert_eq!(findings.list.len(), 18);
        assert_eq!(findings.list[16].detail, "and 2 more");
        assert_eq!(findings.list[17].detail, "and 1 more");
        assert_eq!(findings.status, Status::Warn);
    }

    #[test]
    fn the_worst_finding_decides() {
        let mut findings = Findings::default();
        findings.push("lossy", "");
        assert_eq!(findings.status, Status::Ok);
        findings.push("missing_slices", "");
        assert_eq!(findings.status, Status::Warn);
        findings.push_as("uneven_spacing", Status::Bad, "");
        assert_eq!(findings.status, Status::Bad);
        findings.push("split_from", "");
        assert_eq!(findings.status, Status::Bad);
        assert_eq!(known_code("lossy"), "lossy");
        assert_eq!(known_code("x"), "header_issue");
    }
}
