//! What is known of one SOP Instance without touching its Pixel Data.
//!
//! Plain data: the header parser fills it, the index stores it, the volume layer reads it.

use serde::{Deserialize, Serialize};

use super::Attributes;

/// One SOP Instance (PS3.3 A.1), as its header describes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// SOP Class UID (0008,0016); empty when absent.
    pub sop_class_uid: String,
    /// SOP Instance UID (0008,0018); empty when absent.
    pub sop_instance_uid: String,
    /// Study Instance UID (0020,000D); empty when absent.
    pub study_instance_uid: String,
    /// Series Instance UID (0020,000E); empty when absent.
    pub series_instance_uid: String,
    /// Frame of Reference UID (0020,0052); empty when absent.
    pub frame_of_reference_uid: String,
    /// Transfer Syntax UID (0002,0010), or the one assumed when absent (then see `issues`).
    pub transfer_syntax_uid: String,
    /// Modality (0008,0060); empty when absent.
    pub modality: String,
    /// Image Pixel description (PS3.3 C.7.6.3); `None` when the instance is not an image.
    pub image: Option<ImagePixel>,
    /// Where the pixel element's value starts; `None` when there is none before the end of file.
    pub pixel_data: Option<PixelDataLocation>,
    /// Top-level attributes, overlaid by the Shared Functional Groups (PS3.3 C.7.6.16).
    pub shared: FrameAttributes,
    /// Per-Frame Functional Groups, one a frame in stored order; empty where there are none. What
    /// an entry leaves unset is to be taken from `shared`, field by field.
    pub per_frame: Vec<FrameAttributes>,
    /// Dimension Index Pointer (0020,9165) of each item of the Dimension Index Sequence
    /// (0020,9222): what the Dimension Index Values of the frames count. Group and element.
    pub dimension_pointers: Vec<(u16, u16)>,
    /// Segment Sequence (0062,0002), in its order; empty for what is no segmentation.
    pub segments: Vec<Segment>,
    /// What a Siemens MOSAIC says of its tiles; `None` for any other image.
    pub mosaic: Option<Mosaic>,
    /// Attributes shown to users: the descriptive ones, never bulk data.
    pub attributes: Attributes,
    /// What was odd about the header, in words fit for a finding.
    pub issues: Vec<HeaderIssue>,
}

impl Instance {
    /// The value that holds for a frame, 0-based: its own, else the shared one.
    pub fn of_frame<'a, T>(
        &'a self,
        frame_index: u32,
        field: impl Fn(&'a FrameAttributes) -> Option<T>,
    ) -> Option<T> {
        let own = self.per_frame.get(frame_index as usize);
        own.and_then(&field).or_else(|| field(&self.shared))
    }
}

/// One item of the Segment Sequence (PS3.3 C.8.20.4).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Segment Number (0062,0004).
    pub number: u32,
    /// Segment Label (0062,0005); empty when absent.
    pub label: String,
    /// Segment Algorithm Type (0062,0008); empty when absent.
    pub algorithm_type: String,
    /// Code Meaning of the Segmented Property Category (0062,0003); empty when absent.
    pub category: String,
    /// Code Meaning of the Segmented Property Type (0062,000F); empty when absent.
    pub property_type: String,
    /// Recommended Display CIELab Value (0062,000D), as stored.
    pub color_cielab: Option<[u16; 3]>,
}

/// How the slices of a Siemens MOSAIC lie in their frame: from the private CSA image header
/// (0029,xx10) or the elements that newer software writes beside it. A mosaic of n tiles is a
/// square grid of ceil(sqrt(n)) tiles a side, filled row by row. That of United Imaging, VFRAME, has
/// as many columns and only the rows that it needs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Mosaic {
    /// NumberOfImagesInMosaic: tiles that hold a slice.
    pub tiles: u32,
    /// Image Position (Patient) of each slice, from the MR VFrame Sequence (0065,xx51) of United
    /// Imaging, whose tiles these are; empty for Siemens.
    pub positions: Vec<[f64; 3]>,
    /// SliceNormalVector: unit vector, LPS, from each slice to the next.
    pub slice_normal: Option<[f64; 3]>,
    /// When each slice was acquired, ms from any start: MosaicRefAcqTimes, or the Acquisition Times
    /// of the MR VFrame Sequence; empty when absent.
    pub slice_times_ms: Vec<f64>,
    /// PhaseEncodingDirectionPositive.
    pub phase_encoding_positive: Option<bool>,
    /// BandwidthPerPixelPhaseEncode, Hz.
    pub bandwidth_per_pixel_phase_encode_hz: Option<f64>,
    /// B_value, s/mm2.
    pub b_value: Option<f64>,
    /// DiffusionGradientDirection: unit vector, LPS.
    pub gradient: Option<[f64; 3]>,
}

/// Something wrong or assumed in a header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderIssue {
    /// Finding code (`malformed_attribute`, `transfer_syntax_assumed`, ...).
    pub code: String,
    /// Keyword of the attribute concerned; empty when it concerns the file.
    pub keyword: String,
    /// One sentence; must not carry a value that identifies a patient.
    pub detail: String,
}

/// Image Pixel Module (PS3.3 C.7.6.3): all that a decoder needs to know beside the bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImagePixel {
    /// Rows (0028,0010).
    pub rows: u32,
    /// Columns (0028,0011).
    pub columns: u32,
    /// Number of Frames (0028,0008), 1 when absent.
    pub number_of_frames: u32,
    /// Samples per Pixel (0028,0002).
    pub samples_per_pixel: u16,
    /// Photometric Interpretation (0028,0004).
    pub photometric: Photometric,
    /// Planar Configuration (0028,0006), 0 when absent.
    pub planar_configuration: u16,
    /// Bits Allocated (0028,0100): 1, 8, 16, 32 or 64.
    pub bits_allocated: u16,
    /// Bits Stored (0028,0101); equal to Bits Allocated when absent.
    pub bits_stored: u16,
    /// High Bit (0028,0102); Bits Stored - 1 when absent.
    pub high_bit: u16,
    /// Pixel Representation (0028,0103) is 1: two's complement.
    pub signed: bool,
    /// Which element holds the samples, and so whether they are integers or floats.
    pub element: PixelElement,
}

impl ImagePixel {
    /// Bytes of one decoded sample: 1 for 1-bit data, else Bits Allocated / 8.
    pub fn sample_len_bytes(&self) -> usize {
        (usize::from(self.bits_allocated)).div_ceil(8)
    }

    /// Whether native pixels come in pairs that share their Cb and Cr: YBR_FULL_422, and the retired
    /// YBR_PARTIAL_422 (PS3.3 C.7.6.3.1.2).
    pub fn is_422(&self) -> bool {
        let is_partial = |term: &String| term == "YBR_PARTIAL_422";
        self.samples_per_pixel == 3
            && match &self.photometric {
                Photometric::YbrFull422 => true,
                Photometric::Other(term) => is_partial(term),
                _ => false,
            }
    }

    /// Bytes of one frame once decoded to stored values (samples interleaved, 1-bit data as one
    /// byte a pixel). `None` when it overflows.
    pub fn frame_len_bytes(&self) -> Option<usize> {
        (self.rows as usize)
            .checked_mul(self.columns as usize)?
            .checked_mul(usize::from(self.samples_per_pixel))?
            .checked_mul(self.sample_len_bytes())
    }
}

/// The element that carries the samples (PS3.3 C.7.6.3.1, C.7.6.24, C.7.6.25).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PixelElement {
    /// Pixel Data (7FE0,0010): integers.
    PixelData,
    /// Float Pixel Data (7FE0,0008): IEEE 754 binary32.
    FloatPixelData,
    /// Double Float Pixel Data (7FE0,0009): IEEE 754 binary64.
    DoubleFloatPixelData,
}

/// Photometric Interpretation (PS3.3 C.7.6.3.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Photometric {
    /// Lowest value is white.
    Monochrome1,
    /// Lowest value is black.
    Monochrome2,
    /// Index into three lookup tables.
    PaletteColor,
    /// Red, green, blue.
    Rgb,
    /// Y, Cb, Cr, full range, one of each a pixel.
    YbrFull,
    /// As `YbrFull`, with Cb and Cr sampled at half the horizontal rate.
    YbrFull422,
    /// Irreversible JPEG 2000 colour transform.
    YbrIct,
    /// Reversible JPEG 2000 colour transform.
    YbrRct,
    /// XYB of JPEG XL: the codec yields RGB.
    Xyb,
    /// Anything else, by its defined term (YBR_PARTIAL_420, HSV, ...).
    Other(String),
}

impl Photometric {
    /// The defined term (PS3.3 C.7.6.3.1.2), as the header has it.
    pub fn term(&self) -> &str {
        match self {
            Photometric::Monochrome1 => "MONOCHROME1",
            Photometric::Monochrome2 => "MONOCHROME2",
            Photometric::PaletteColor => "PALETTE COLOR",
            Photometric::Rgb => "RGB",
            Photometric::YbrFull => "YBR_FULL",
            Photometric::YbrFull422 => "YBR_FULL_422",
            Photometric::YbrIct => "YBR_ICT",
            Photometric::YbrRct => "YBR_RCT",
            Photometric::Xyb => "XYB",
            Photometric::Other(term) => term,
        }
    }
}

/// Where a pixel element lies in its file (or, for a deflated transfer syntax, in the inflated
/// dataset, counted from the end of the file meta information).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PixelDataLocation {
    /// Offset in bytes of the first byte of the value. For encapsulated data this is the Basic
    /// Offset Table item's tag.
    pub offset_bytes: u64,
    /// Declared length in bytes; `None` for undefined length (encapsulated, PS3.5 A.4).
    pub length_bytes: Option<u64>,
    /// Absolute offset and length in bytes of the values of the Extended Offset Table (7FE0,0001)
    /// and its Lengths (7FE0,0002), where both are present.
    pub extended_offset_table: Option<[(u64, u64); 2]>,
}

/// Attributes that may differ from frame to frame. Lengths in mm, times in ms.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FrameAttributes {
    /// Image Position (Patient) (0020,0032), mm, LPS; of an ultrasound volume Image Position
    /// (Volume) (0020,9301), see `is_in_volume`.
    pub image_position: Option<[f64; 3]>,
    /// Image Orientation (Patient) (0020,0037), or (Volume) (0020,9302): row then column direction
    /// cosines.
    pub image_orientation: Option<[f64; 6]>,
    /// The position is in the Volume Frame of Reference (PS3.3 C.8.24.2), which is not that of the
    /// patient.
    pub is_in_volume: bool,
    /// Pixel Spacing (0028,0030): between rows (y), between columns (x), mm.
    pub pixel_spacing: Option<[f64; 2]>,
    /// Spacing Between Slices (0018,0088), mm.
    pub spacing_between_slices: Option<f64>,
    /// Slice Thickness (0018,0050), mm.
    pub slice_thickness: Option<f64>,
    /// Rescale Slope (0028,1053).
    pub rescale_slope: Option<f64>,
    /// Rescale Intercept (0028,1052).
    pub rescale_intercept: Option<f64>,
    /// Rescale Type (0028,1054).
    pub rescale_type: Option<String>,
    /// A Modality LUT Sequence (0028,3000) is present: entries, first mapped value, bits an entry.
    pub modality_lut_descriptor: Option<[i32; 3]>,
    /// Red Palette Color Lookup Table Descriptor (0028,1101): entries, first mapped value, bits an
    /// entry; the third decides whether PALETTE COLOR becomes 8- or 16-bit RGB.
    pub palette_descriptor: Option<[i32; 3]>,
    /// Real World Value Mapping slope, intercept (0040,9225 / 0040,9224) of the first linear item.
    pub real_world_value: Option<[f64; 2]>,
    /// LUT Label (0040,9210) of that item.
    pub real_world_label: Option<String>,
    /// The Real World Value Mapping has only items with a table (Real World Value LUT Data).
    pub real_world_value_is_lut: bool,
    /// Measurement units code value of that item, or Units (0054,1001) for PET.
    pub units: Option<String>,
    /// Instance Number (0020,0013).
    pub instance_number: Option<i64>,
    /// Acquisition Number (0020,0012).
    pub acquisition_number: Option<i64>,
    /// Temporal Position Identifier (0020,0100) or Temporal Position Index (0020,9128).
    pub temporal_position: Option<i64>,
    /// Temporal Position Time Offset (0020,930D), s.
    pub temporal_position_offset_s: Option<f64>,
    /// Trigger Time (0018,1060) or Nominal Cardiac Trigger Delay Time (0020,9153), ms.
    pub trigger_time_ms: Option<f64>,
    /// Frame Acquisition DateTime (0018,9074), else Frame Reference DateTime (0018,9151), Acquisition
    /// Time (0008,0032) or Acquisition DateTime (0008,002A), as ms (of the day or epoch).
    pub acquisition_time_ms: Option<f64>,
    /// Content Time (0008,0033), ms of the day.
    pub content_time_ms: Option<f64>,
    /// Echo Number(s) (0018,0086), the first.
    pub echo_number: Option<i64>,
    /// Echo Time (0018,0081) or Effective Echo Time (0018,9082), ms.
    pub echo_time_ms: Option<f64>,
    /// Diffusion b-value (0018,9087), s/mm2; where it is absent, the private one of Siemens, GE,
    /// Philips or United Imaging, which some write for images without diffusion too, as 0.
    pub diffusion_b_value: Option<f64>,
    /// Diffusion Gradient Orientation (0018,9089), or where it is absent that of Siemens
    /// (0019,xx0E): unit vector, LPS; zeros or absent without one.
    pub diffusion_gradient: Option<[f64; 3]>,
    /// The direction as GE (0019,xxBB to xxBD), Philips (2005,xxB0 to xxB2) or United Imaging
    /// (0065,xx37) write it, in axes of their own: tells directions apart, and says nothing of where they point. Zeros without one.
    pub gradient_as_written: Option<[f64; 3]>,
    /// Velocity Encoding Direction (0018,9090): unit vector, LPS.
    pub velocity_direction: Option<[f64; 3]>,
    /// Nominal Percentage of Cardiac Phase (0020,9241).
    pub cardiac_phase_percent: Option<f64>,
    /// Nominal Percentage of Respiratory Phase (0020,9245).
    pub respiratory_phase_percent: Option<f64>,
    /// Inversion Time (0018,0082) or the first of Inversion Times (0018,9079), ms.
    pub inversion_time_ms: Option<f64>,
    /// Flip Angle (0018,1314), degrees.
    pub flip_angle_deg: Option<f64>,
    /// Column and Row Position In Total Image Pixel Matrix (0048,021E / 0048,021F), 1-based.
    pub total_matrix_position: Option<[i64; 2]>,
    /// Image Type (0008,0008) or Frame Type (0008,9007), values in order.
    pub image_type: Vec<String>,
    /// Complex Image Component (0008,9208).
    pub complex_image_component: Option<String>,
    /// Dimension Index Values (0020,9157).
    pub dimension_index_values: Vec<u32>,
    /// Stack ID (0020,9056).
    pub stack_id: Option<String>,
    /// In-Stack Position Number (0020,9057).
    pub in_stack_position: Option<u32>,
    /// Referenced Segment Number (0062,000B), for segmentations.
    pub segment_number: Option<u32>,
}

/// The value of an attribute shown to users.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// One string (already decoded to UTF-8, padding trimmed).
    Text(String),
    /// Several strings.
    Texts(Vec<String>),
    /// One integer.
    Int(i64),
    /// Several integers.
    Ints(Vec<i64>),
    /// One number.
    Float(f64),
    /// Several numbers.
    Floats(Vec<f64>),
}
