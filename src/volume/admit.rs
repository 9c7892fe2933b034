//! Which records are sources of frames, and which headers are too absurd to believe.
//!
//! Looks at one record at a time. A header is hostile: nothing may be allocated by its numbers
//! before they were compared with the file's length here.

use super::finding::{Findings, known_code};
use super::variant::{FRAME_BYTES_MAX, VOLUME_BYTES_MAX};
use super::{Finding, Status};
use crate::archive::Record;
use crate::dicom::{ImagePixel, PixelElement};

/// Most frames of one instance. The largest slide images have some 10^5 tiles.
const FRAMES_MAX: u32 = 1 << 20;

/// A cut file may lack most of its frames; a header that declares more than this many times what
/// the file can hold is not believed.
const TRUNCATION_MAX: u64 = 1024;

/// Deflate cannot shrink by more (RFC 1951: 258 bytes for two bits).
const DEFLATE_RATIO_MAX: u64 = 1032;

/// Deflated Explicit VR Little Endian (PS3.5 A.5).
const DEFLATED_EXPLICIT_LE: &str = "1.2.840.10008.1.2.1.99";

/// Checks a record. `Ok` holds what is odd but usable; `Err` why it is no source of frames.
pub(super) fn admit(record: &Record) -> Result<(&ImagePixel, Vec<Finding>), Finding> {
    let instance = &record.instance;
    let Some(image) = &instance.image else {
        if instance.pixel_data.is_some() {
            return Err(malformed(
                "there are pixels, but no usable description of them".into(),
            ));
        }
        return Err(Finding {
            code: "not_an_image",
            detail: format!("SOP Class {} holds no image", instance.sop_class_uid),
        });
    };
    if instance.pixel_data.is_none() {
        return Err(Finding {
            code: "no_pixel_data",
            detail: "the file ends, or has only a reference, where the pixels should be".into(),
        });
    }
    check_description(image)?;
    check_limits(image)?;
    let path = record.path.display();
    let mut findings = Vec::new();
    if let Some(finding) = check_length(record, image)? {
        findings.push(finding);
    }
    let described = instance.per_frame.len();
    if described != 0 && described != image.number_of_frames as usize {
        findings.push(malformed(format!(
            "{path}: {} frames, but per-frame attributes of {described}",
            image.number_of_frames,
        )));
    }
    Ok((image, findings))
}

/// Header issues of a record, for a record that is in no volume.
pub(super) fn carried_issues(record: &Record) -> impl Iterator<Item = Finding> + '_ {
    record.instance.issues.iter().map(|issue| Finding {
        code: known_code(&issue.code),
        detail: issue.detail.clone(),
    })
}

fn malformed(detail: String) -> Finding {
    Finding {
        code: "malformed_header",
        detail,
    }
}

fn check_description(image: &ImagePixel) -> Result<(), Finding> {
    let (allocated, stored) = (image.bits_allocated, image.bits_stored);
    if image.rows == 0 || image.columns == 0 {
        return Err(malformed(format!(
            "the image has {} rows and {} columns",
            image.rows, image.columns
        )));
    }
    if image.number_of_frames == 0 || image.samples_per_pixel == 0 {
        return Err(malformed(format!(
            "the image has {} frames of {} samples a pixel",
            image.number_of_frames, image.samples_per_pixel
        )));
    }
    let allocated_ok = match image.element {
        PixelElement::PixelData => matches!(allocated, 1 | 8 | 16 | 32 | 64),
        PixelElement::FloatPixelData => allocated == 32,
        PixelElement::DoubleFloatPixelData => allocated == 64,
    };
    let is_integer = image.element == PixelElement::PixelData;
    if !allocated_ok || (is_integer && (stored == 0 || stored > allocated)) {
        return Err(malformed(format!(
            "{allocated} bits allocated with {stored} stored cannot be read"
        )));
    }
    Ok(())
}

fn check_limits(image: &ImagePixel) -> Result<(), Finding> {
    let too_large = |detail: String| Finding {
        code: "too_large",
        detail,
    };
    let frame_bytes = image.frame_len_bytes().map(|bytes| bytes as u64);
    let Some(frame_bytes) = frame_bytes.filter(|bytes| *bytes <= FRAME_BYTES_MAX) else {
        return Err(too_large(format!(
            "a frame of {} x {} x {} samples is over {FRAME_BYTES_MAX} bytes",
            image.rows, image.columns, image.samples_per_pixel
        )));
    };
    if image.number_of_frames > FRAMES_MAX {
        return Err(too_large(format!(
            "{} frames are over the limit of {FRAMES_MAX}",
            image.number_of_frames
        )));
    }
    // Both factors are below 2^32.
    if frame_bytes * u64::from(image.number_of_frames) > VOLUME_BYTES_MAX {
        return Err(too_large(format!(
            "{} frames of {frame_bytes} bytes are over {VOLUME_BYTES_MAX} bytes",
            image.number_of_frames
        )));
    }
    Ok(())
}

/// Compares the frames declared with what the file can hold: `Ok` holds the finding of a file that
/// is cut short.
fn check_length(record: &Record, image: &ImagePixel) -> Result<Option<Finding>, Finding> {
    let Some(location) = record.instance.pixel_data else {
        return Ok(None);
    };
    if is_video(&record.instance.transfer_syntax_uid) {
        // One stream for all frames: nothing to compare, and nothing will be decoded.
        return Ok(None);
    }
    let mut available = record.identity.size_bytes;
    if record.instance.transfer_syntax_uid == DEFLATED_EXPLICIT_LE {
        available = available.saturating_mul(DEFLATE_RATIO_MAX);
    }
    available = available.saturating_sub(location.offset_bytes);
    let frames = u64::from(image.number_of_frames);
    let held = match location.length_bytes {
        Some(length) => {
            let bits = frame_bits(image);
            u128::from(available.min(length)) * 8 / u128::from(bits.max(1))
        }
        // Each frame has a fragment of its own, whose item header takes 8 bytes (PS3.5 A.4).
        None => u128::from(available / 8),
    };
    let held = u64::try_from(held).unwrap_or(u64::MAX);
    if frames <= held {
        // A third of what is there would never be shown: one of the two is wrong.
        let full_bits = u128::from(frame_bits(image)) * 3 / 2 * u128::from(frames);
        let has_room = |length: u64| u128::from(available.min(length)) * 8 >= full_bits;
        let is_longer = image.is_422() && location.length_bytes.is_some_and(has_room);
        let contradiction = format!(
            "{}: {} pixels that take the room of YBR_FULL ones",
            record.path.display(),
            image.photometric.term()
        );
        return Ok(is_longer.then(|| malformed(contradiction)));
    }
    if frames > 1 && frames > held.max(1).saturating_mul(TRUNCATION_MAX) {
        return Err(malformed(format!(
            "{frames} frames are declared and the file holds at most {held}"
        )));
    }
    let path = record.path.display();
    let detail = match location.length_bytes {
        Some(_) => format!("{path}: {held} of {frames} frames are whole in the file"),
        None => format!("{path}: the file is too short for {frames} encapsulated frames"),
    };
    Ok(Some(Finding {
        code: "truncated_pixel_data",
        detail,
    }))
}

/// Bits of one native frame as stored. 1-bit frames are not padded to bytes (PS3.5 8.1.1), and
/// YBR_FULL_422 stores two samples a pixel (PS3.3 C.7.6.3.1.2).
fn frame_bits(image: &ImagePixel) -> u64 {
    let samples = match image.is_422() {
        true => 2,
        false => u64::from(image.samples_per_pixel),
    };
    u64::from(image.rows)
        .saturating_mul(u64::from(image.columns))
        .saturating_mul(samples)
        .saturating_mul(u64::from(image.bits_allocated))
}

/// Video and streaming transfer syntaxes, whose frames are not images of their own: MPEG-2,
/// MPEG-4, HEVC (PS3.5 8.2.5 to 8.2.11) and SMPTE ST 2110 (PS3.22).
pub(super) fn is_video(transfer_syntax_uid: &str) -> bool {
    let Some(tail) = transfer_syntax_uid.strip_prefix("1.2.840.10008.1.2.") else {
        return false;
    };
    matches!(
        tail,
        "4.100"
            | "4.100.1"
            | "4.101"
            | "4.101.1"
            | "4.102"
            | "4.102.1"
            | "4.103"
            | "4.103.1"
            | "4.104"
            | "4.104.1"
            | "4.105"
            | "4.105.1"
            | "4.106"
            | "4.106.1"
            | "4.107"
            | "4.108"
            | "7.1"
            | "7.2"
            | "7.3"
    )
}

/// Transfer syntaxes that always lose: baseline and extended JPEG, near-lossless JPEG-LS. The
/// others that may lose are told by Lossy Image Compression (0028,2110).
pub(super) fn is_lossy(transfer_syntax_uid: &str) -> bool {
    is_video(transfer_syntax_uid)
        || matches!(
            transfer_syntax_uid,
            "1.2.840.10008.1.2.4.50" | "1.2.840.10008.1.2.4.51" | "1.2.840.10008.1.2.4.81"
        )
}

/// What the header's issues and transfer syntax say about a volume made of these records.
pub(super) fn report_headers(records: &[std::sync::Arc<Record>], findings: &mut Findings) {
    let mut issues = std::collections::BTreeMap::new();
    for record in records {
        for issue in &record.instance.issues {
            let key = (known_code(&issue.code), issue.keyword.as_str());
            issues.entry(key).or_insert((0_usize, issue)).0 += 1;
        }
    }
    // Where the frames that are missing were counted, that says more than the issue.
    let counted = |finding: &Finding| finding.code == "truncated_pixel_data";
    if findings.list.iter().any(counted) {
        issues.remove(&("truncated", "PixelData"));
    }
    for ((code, keyword), (count, first)) in issues {
        let about = if keyword.is_empty() { "file" } else { keyword };
        findings.push(
            code,
            format!("{about}: {} ({count} times)", first.detail.trim()),
        );
    }
    let is = |test: &dyn Fn(&Record) -> bool| records.iter().filter(|r| test(r)).count();
    let lossy = is(&|record| {
        is_lossy(&record.instance.transfer_syntax_uid) || says_lossy(&record.instance.attributes)
    });
    if lossy > 0 {
        findings.push("lossy", format!("{lossy} of {} files", records.len()));
    }
    if let Some(video) = records
        .iter()
        .find(|record| is_video(&record.instance.transfer_syntax_uid))
    {
        findings.push_as(
            "unsupported_transfer_syntax",
            Status::Bad,
            format!(
                "{} is video: its frames are not decoded",
                video.instance.transfer_syntax_uid
            ),
        );
    }
}

/// Lossy Image Compression (0028,2110) is 01.
fn says_lossy(attributes: &crate::dicom::Attributes) -> bool {
    use crate::dicom::Value;
    match attributes.get("LossyImageCompression") {
        Some(Value::Text(text)) => text.trim() == "01",
        Some(Value::Int(1)) => true,
        _ => false,
    }
}
