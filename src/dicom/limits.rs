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

/// Deepest nesting of sequences that is followed. Structured reports nest about 15 deep; each
/// level takes a stack frame.
pub const NESTING_MAX: u32 = 64;

/// Most items of the Per-Frame Functional Groups Sequence (5200,9230): each takes about half a
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
