//! Every bound of the parsers in this module tree, each with its reason.

/// Bytes of the first read of a header. Measured: 4 and 16 KiB are both slower on CT headers of
/// 6 KiB; most files need no second read.
pub const FIRST_READ_BYTES: usize = 8 << 10;

/// Largest single read of a header that goes on and on (enhanced multi-frame: about 200 bytes a
/// frame and functional group). Beyond this size larger reads are not faster.
pub const READ_BYTES_MAX: usize = 256 << 10;

/// Largest buffer that a thread keeps from one header for the next.
pub const SPARE_BYTES_MAX: usize = 64 << 10;

/// Bytes read for one header before it is refused. 200,000 frames at 1 KiB of Per-Frame
/// Functional Groups each stay below it; a hostile file costs a quarter of a second at most.
pub const HEADER_BYTES_MAX: u64 = 256 << 20;

/// Bytes inflated for the header of a deflated dataset (PS3.5 A.5) before it is refused.
pub const INFLATED_HEADER_BYTES_MAX: u64 = 64 << 20;

/// Longest value that is looked at. The longest that is of use are unlimited text and UID lists;
/// descriptive ones are below 10,240 characters (LT, PS3.5 6.2).
pub const VALUE_BYTES_MAX: u32 = 16 << 10;

/// Most values kept of one multi-valued attribute: a list of empty strings takes 24 bytes a value
/// in memory and one in the file.
pub const VALUES_MAX: usize = 1024;

/// The same for attributes with a value for every frame (Slice Vector and its like): as many US as
/// an explicit header can hold, whose length for them has 16 bits (PS3.5 7.1.2).
pub const FRAME_VALUES_MAX: usize = 32_767;

/// Longest value of such an attribute, for the same reason.
pub const FRAME_VALUES_BYTES_MAX: u32 = 0xFFFE;

/// Longest CSA image header of Siemens MR that is read: real ones take 10 to 100 KiB. They are
/// read for mosaics only.
pub const CSA_BYTES_MAX: u32 = 256 << 10;

/// Most tiles of a mosaic: the count is a US where it has an element of its own.
pub const MOSAIC_TILES_MAX: u16 = u16::MAX;

/// Longest private creator that is looked at: it is an LO (PS3.5 7.8.1, 6.2), of up to four bytes
/// a character.
pub const PRIVATE_CREATOR_BYTES_MAX: u32 = 256;

/// Most items kept of the Segment Sequence (0062,0002): Segment Number is a US and begins at 1.
pub const SEGMENTS_MAX: usize = 65_535;

/// Most dimensions kept of the Dimension Index Sequence (0020,9222), and most values of one frame's
/// Image Type or Dimension Index Values: real ones have up to six, and there is a list a frame.
pub const VALUES_A_FRAME_MAX: usize = 32;

/// Deepest nesting of sequences that is followed. Structured reports nest about 15 deep; each
/// level takes a stack frame.
pub const NESTING_MAX: u32 = 64;

/// Most items of the Per-Frame Functional Groups Sequence (5200,9230): each takes less than one
/// KiB in memory, whatever it takes in the file.
pub const PER_FRAME_ITEMS_MAX: usize = 262_144;

/// Most issues kept of one header: one broken attribute in every frame says nothing new.
pub const ISSUES_MAX: usize = 64;

/// Most fragments of one encapsulated pixel element: the table takes 16 bytes for each, a hostile
/// file 8.
pub const FRAGMENTS_MAX: usize = 4 << 20;

/// Largest Modality LUT or Palette Color LUT data: 65,536 entries of two bytes (PS3.3 C.11.1.1)
/// and room for the segmented form.
pub const LUT_BYTES_MAX: u32 = 256 << 10;
