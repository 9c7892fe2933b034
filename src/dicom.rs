//! The vocabulary of DICOM: what a file's header says and where its Pixel Data lies.
//!
//! Knows nothing of volumes, caches or mounts. Parsing works on byte windows; the only I/O is a
//! positioned read handed in by the caller ([`ReadAt`]).

mod attributes;
pub mod calendar;
mod csa;
pub mod deflate;
pub mod deid;
mod dictionary;
pub mod encapsulation;
mod error;
pub mod header;
pub mod instance;
pub mod limits;
pub mod lut;
mod read_at;
pub mod syntax;
pub mod tags;
#[cfg(test)]
pub(crate) mod testing;

pub use attributes::{Attributes, UnknownKeyword};
pub use deflate::read_deflated;
pub use deid::Deid;
pub use encapsulation::{EncodedFrame, Fragment, FrameState, FrameTable};
pub use error::Error;
pub use header::{Header, is_dicom, read_header};
pub use instance::{
    FrameAttributes, HeaderIssue, ImagePixel, Instance, Mosaic, Photometric, PixelDataLocation,
    PixelElement, Segment, Value,
};
pub use lut::{Luts, ModalityLut, PaletteLut, read_luts};
pub use read_at::{ReadAt, read_full_at};
pub use syntax::{CodecFamily, TransferSyntax};
