//! Which functional group macros are read.

use dicom_core::Tag;

use super::Target;

/// The functional group macros whose attributes are read (PS3.3 C.7.6.16.2 and the macros of the
/// enhanced CT, MR, PET, XA, X-Ray 3D, slide and segmentation objects).
const MACROS: &[Tag] = &[
    Tag(0x0018, 0x9112), // MR Timing and Related Parameters
    Tag(0x0018, 0x9114), // MR Echo
    Tag(0x0018, 0x9115), // MR Modifier
    Tag(0x0018, 0x9117), // MR Diffusion
    Tag(0x0018, 0x9118), // Cardiac Synchronization
    Tag(0x0018, 0x9197), // MR Velocity Encoding
    Tag(0x0018, 0x9226), // MR Image Frame Type
    Tag(0x0018, 0x9227), // MR Spectroscopy Frame Type
    Tag(0x0018, 0x9329), // CT Image Frame Type
    Tag(0x0018, 0x9412), // XA/XRF Frame Characteristics
    Tag(0x0018, 0x9504), // X-Ray 3D Frame Type
    Tag(0x0018, 0x9751), // PET Frame Type
    Tag(0x0018, 0x9806), // US Image Description
    Tag(0x0020, 0x9111), // Frame Content
    Tag(0x0020, 0x9113), // Plane Position
    Tag(0x0020, 0x9116), // Plane Orientation
    Tag(0x0020, 0x9253), // Respiratory Synchronization
    Tag(0x0020, 0x930E), // Plane Position (Volume)
    Tag(0x0020, 0x930F), // Plane Orientation (Volume)
    Tag(0x0020, 0x9310), // Temporal Position
    Tag(0x0028, 0x9110), // Pixel Measures
    Tag(0x0028, 0x9145), // Pixel Value Transformation
    Tag(0x0040, 0x0710), // Whole Slide Microscopy Image Frame Type
    Tag(0x0040, 0x9092), // Parametric Map Frame Type
    Tag(0x0048, 0x021A), // Plane Position (Slide)
    Tag(0x0062, 0x000A), // Segment Identification
];

/// The macros that are of use for what they show only, and so in the shared groups alone.
const SHOWN_MACROS: &[Tag] = &[
    Tag(0x0018, 0x9006), // MR Imaging Modifier
    Tag(0x0018, 0x9042), // MR Receive Coil
    Tag(0x0018, 0x9119), // MR Averages
    Tag(0x0018, 0x9125), // MR FOV/Geometry
    Tag(0x0018, 0x9304), // CT Acquisition Details
    Tag(0x0018, 0x9308), // CT Table Dynamics
    Tag(0x0018, 0x9312), // CT Geometry
    Tag(0x0018, 0x9314), // CT Reconstruction
    Tag(0x0018, 0x9321), // CT Exposure
    Tag(0x0018, 0x9325), // CT X-Ray Details
    Tag(0x0028, 0x9132), // Frame VOI LUT
];

/// Has this macro anything of use, for the frames or for what is shown?
pub(super) fn is_read(macro_tag: Tag, target: Target) -> bool {
    let is_shown = || target == Target::Shared && SHOWN_MACROS.contains(&macro_tag);
    MACROS.contains(&macro_tag) || is_shown()
}
