//! The vocabulary of DICOM: what a file's header says and where its Pixel Data lies.
//!
//! Knows nothing of volumes, caches or mounts. Parsing works on byte slices; the only I/O is a
//! positioned read handed in by the caller.

pub mod instance;

pub use instance::{
    FrameAttributes, HeaderIssue, ImagePixel, Instance, Photometric, PixelDataLocation,
    PixelElement, Value,
};
