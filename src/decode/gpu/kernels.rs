//! The kernels of kernels.cu: what they are told, and their launches.
//!
//! `unsafe` because a kernel reads and writes memory by address.
//!
//! `kernels.ptx` is made of `kernels.cu` by `build_ptx.py` and embedded; its first lines say of which
//! bytes it was made and by what, and tests hold it to that.
#![allow(unsafe_code)]

use std::ffi::{CString, c_void};
use std::sync::Arc;

use super::driver::{Context, CudaError, Kernel, Module, Stream};
use super::lossless::{Intervals, Lossless};

/// The kernels, as the driver takes them.
const PTX: &str = include_str!("kernels.ptx");

/// Threads of a block of `show`.
const SHOW_BLOCK: u32 = 256;

/// Samples that a thread of `show` makes, where the grid is not at its limit: enough that what it is
/// told of the frame is read for more than one.
const SHOW_SAMPLES_A_THREAD: u32 = 8;

/// Threads of a block of `rle_walk`: one for each entry of a chunk, in whole warps.
const WALK_BLOCK: u32 = 160;

/// Threads of a block of `rle_emit`: a packet is a few bytes, more would idle.
const EMIT_BLOCK: u32 = 32;

/// Threads of a block of `rle_link`: few, so that segments spread over the device.
const LINK_BLOCK: u32 = 32;

/// Largest extent of a grid along y (CUDA C programming guide, table of limits).
const GRID_Y_MAX: u32 = 65535;

/// Blocks along x beyond which blocks loop.
const GRID_X_MAX: u32 = 4096;

/// Bytes of an RLE segment that are walked through at once (`CHUNK`).
pub(super) const CHUNK_BYTES: usize = 4096;

/// Bytes of `Segment.table` and `Segment.starts` for each chunk (`ENTRIES` words, one 64-bit word).
pub(super) const CHUNK_TABLE_BYTES: usize = 129 * 4;
/// See [`CHUNK_TABLE_BYTES`].
pub(super) const CHUNK_START_BYTES: usize = 8;

/// `Frame.source`.
pub(super) mod source {
    pub const WORDS: u32 = 0;
    pub const WORD_PLANES: u32 = 1;
    pub const BYTE_PLANES: u32 = 2;
    pub const COMPONENTS: u32 = 3;
    pub const HALVES: u32 = 4;
}

/// `Frame.show`.
pub(super) mod show {
    pub const STORED: u32 = 0;
    pub const OFFSET_I16: u32 = 1;
    pub const OFFSET_I32: u32 = 2;
    pub const LINEAR_F32: u32 = 3;
    pub const LINEAR_F64: u32 = 4;
}

/// Bits of a frame's word of `flags`.
pub(super) mod flag {
    pub const OVERFLOWED: u32 = 1;
    pub const ENDS_EARLY: u32 = 2;
    pub const UNSETTLED: u32 = 4;
    pub const BEYOND: u32 = 8;
}

/// A frame to be shown: `struct Frame` of kernels.cu, which says what the fields are.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Frame {
    pub planes: [u64; 4],
    pub out: u64,
    pub pitch_bytes: u64,
    pub by: i64,
    pub slope: f64,
    pub intercept: f64,
    pub samples_all: u32,
    pub samples: u32,
    pub columns: u32,
    pub width: u32,
    pub source: u32,
    pub source_width: u32,
    pub swap: u32,
    pub up: u32,
    pub down: u32,
    pub is_signed: u32,
    pub show: u32,
    pub left: u32,
}

/// A segment to be unpacked: `struct Segment` of kernels.cu.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Segment {
    pub packed: u64,
    pub plane: u64,
    pub table: u64,
    pub starts: u64,
    pub packed_len: u32,
    pub plane_len: u32,
    pub chunks: u32,
    pub frame: u32,
}

/// A struct of numbers without padding, of which a kernel is told by its bytes.
///
/// # Safety
/// `repr(C)`, without padding.
pub(super) unsafe trait Plain: Copy {
    /// Its bytes.
    fn bytes(values: &[Self]) -> &[u8] {
        // SAFETY: no padding, so all bytes are initialised.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
    }
}

// SAFETY: `repr(C)`; 9 * 8 + 12 * 4 bytes, a multiple of 8, the larger fields first.
unsafe impl Plain for Frame {}
// SAFETY: `repr(C)`; 4 * 8 + 4 * 4 bytes, the larger fields first.
unsafe impl Plain for Segment {}

const _: () = assert!(size_of::<Frame>() == 9 * 8 + 12 * 4);
const _: () = assert!(size_of::<Segment>() == 4 * 8 + 4 * 4);

/// Addresses of what a launch is about: tables in device memory, uploaded earlier on the stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tables {
    /// Of [`Frame`].
    pub frames: u64,
    /// How many.
    pub frame_count: u32,
    /// The most samples that one of them has.
    pub samples_max: u32,
    /// Of [`Segment`].
    pub segments: u64,
    /// How many.
    pub segment_count: u32,
    /// The most chunks that one of them has.
    pub chunks_max: u32,
    /// Restart intervals of JPEG Lossless.
    pub intervals: Intervals,
    /// Of one u32 a frame.
    pub flags: u64,
}

/// The kernels, loaded into a context.
#[derive(Debug)]
pub(super) struct Kernels {
    show: Kernel,
    rle_walk: Kernel,
    rle_link: Kernel,
    rle_emit: Kernel,
    lossless: Lossless,
    // Owns the kernels.
    _module: Module,
}

impl Kernels {
    /// Has the driver compile them.
    pub fn load(context: &Arc<Context>) -> Result<Kernels, CudaError> {
        let ptx = CString::new(PTX).unwrap_or_default();
        let module = Module::load(context, &ptx)?;
        Ok(Kernels {
            show: module.kernel(c"show")?,
            rle_walk: module.kernel(c"rle_walk")?,
            rle_link: module.kernel(c"rle_link")?,
            rle_emit: module.kernel(c"rle_emit")?,
            lossless: Lossless::load(context)?,
            _module: module,
        })
    }

    /// Unpacks the segments, decodes the intervals, then makes of every frame what it shows.
    ///
    /// # Safety
    /// All addresses in the tables must be of device memory that is long enough for what the
    /// frames and segments say, aligned to their samples, and stays until the stream has been
    /// waited for.
    pub unsafe fn launch(&self, tables: &Tables, stream: &Stream) -> Result<(), CudaError> {
        let mut frames = tables.frames;
        let mut frame_count = tables.frame_count;
        let mut segments = tables.segments;
        let mut segment_count = tables.segment_count;
        let mut flags = tables.flags;
        fn arg<T>(value: &mut T) -> *mut c_void {
            (&raw mut *value).cast()
        }
        let rows = |count: u32| count.min(GRID_Y_MAX);
        if segment_count > 0 {
            let grid = (tables.chunks_max.clamp(1, GRID_X_MAX), rows(segment_count));
            let links = (segment_count.div_ceil(LINK_BLOCK).min(GRID_X_MAX), 1);
            let mut two = [arg(&mut segments), arg(&mut segment_count)];
            // SAFETY: the arguments are those of the kernels; the tables are the caller's word.
            unsafe {
                self.rle_walk.launch(grid, WALK_BLOCK, stream, &mut two)?;
                let mut three = [two[0], two[1], arg(&mut flags)];
                self.rle_link
                    .launch(links, LINK_BLOCK, stream, &mut three)?;
                self.rle_emit.launch(grid, EMIT_BLOCK, stream, &mut two)?;
            }
        }
        // SAFETY: the caller's word.
        unsafe { self.lossless.launch(&tables.intervals, flags, stream)? };
        if frame_count == 0 {
            return Ok(());
        }
        let blocks = tables
            .samples_max
            .div_ceil(SHOW_BLOCK * SHOW_SAMPLES_A_THREAD);
        let grid = (blocks.clamp(1, GRID_X_MAX), rows(frame_count));
        let mut three = [arg(&mut frames), arg(&mut frame_count), arg(&mut flags)];
        // SAFETY: as above.
        unsafe { self.show.launch(grid, SHOW_BLOCK, stream, &mut three) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_ptx_is_made_of_this_source() {
        assert_ptx_is_of(PTX, "kernels.cu", include_bytes!("kernels.cu"));
    }

    pub fn assert_ptx_is_of(ptx: &str, name: &str, source: &[u8]) {
        let digest: String = Sha256::digest(source)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut lines = ptx.lines();
        let first = lines.next().unwrap();
        assert_eq!(
            first,
            format!("// {name} sha256 {digest}"),
            "{name} was edited: run src/decode/gpu/build_ptx.py"
        );
        let second = lines.next().unwrap();
        assert!(second.starts_with("// nvrtc 12.0.140 "), "{second}");
        assert!(second.contains("--fmad=false"), "{second}");
    }

    #[test]
    fn old_drivers_read_the_ptx_and_nothing_is_contracted() {
        let kernels = ["show", "rle_walk", "rle_link", "rle_emit"];
        assert_old_drivers_read(PTX, &kernels.map(String::from));
    }

    pub fn assert_old_drivers_read(ptx: &str, kernels: &[String]) {
        assert!(ptx.contains("\n.version 8.0\n.target sm_60\n"));
        assert!(!ptx.contains("fma."), "a multiply-add that rounds once");
        assert!(!ptx.contains(".ftz"), "small numbers made zero");
        assert!(!ptx.contains(".approx"), "a result that is not the nearest");
        for kernel in kernels {
            assert!(ptx.contains(&format!(".entry {kernel}(")), "{kernel}");
        }
    }

    #[test]
    fn source_and_host_speak_of_the_same_numbers() {
        let source = include_str!("kernels.cu");
        for (name, value) in [
            ("WORDS", source::WORDS),
            ("WORD_PLANES", source::WORD_PLANES),
            ("BYTE_PLANES", source::BYTE_PLANES),
            ("COMPONENTS", source::COMPONENTS),
            ("HALVES", source::HALVES),
            ("STORED", show::STORED),
            ("OFFSET_I16", show::OFFSET_I16),
            ("OFFSET_I32", show::OFFSET_I32),
            ("LINEAR_F32", show::LINEAR_F32),
            ("LINEAR_F64", show::LINEAR_F64),
            ("OVERFLOWED", flag::OVERFLOWED),
            ("ENDS_EARLY", flag::ENDS_EARLY),
            ("UNSETTLED", flag::UNSETTLED),
            ("BEYOND", flag::BEYOND),
            ("CHUNK", CHUNK_BYTES as u32),
            ("ENTRIES", CHUNK_TABLE_BYTES as u32 / 4),
        ] {
            let line = format!("#define {name} {value}u");
            assert!(source.lines().any(|l| l.starts_with(&line)), "{line}");
        }
    }
}
