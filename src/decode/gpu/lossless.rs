//! The kernels of lossless.cu: what they are told, and their launches.
//!
//! `unsafe` because a kernel reads and writes memory by address.
//!
//! `lossless.ptx` is made of `lossless.cu` as `kernels.ptx` of `kernels.cu`.
#![allow(unsafe_code)]

use std::ffi::{CString, c_void};
use std::sync::Arc;

use super::driver::{Context, CudaError, Kernel, Module, Stream};
use super::kernels::Plain;
use crate::decode::cpu::jpeg_lossless::Table;

/// The kernels, as the driver takes them.
const PTX: &str = include_str!("lossless.ptx");

/// Bits of a part (`PART`). Of 18 real pictures 99 in 100 places fall into step within 1006 bits.
pub(super) const PART_BITS: usize = 2048;

/// Stuffed bytes that a thread goes through (`TILE`).
pub(super) const TILE_BYTES: usize = 256;

/// Most bytes of an interval: its bits are counted times four in 32 bits.
pub(super) const PACKED_BYTES_MAX: usize = 1 << 26;

/// Times that each part is decoded at most, the first from its own first bit. Of 15 real pictures 14
/// settle in two; the other takes 83.
const ROUNDS: u32 = 8;

/// Codes that are looked up (`LOOKUP`).
const LOOKUP_BITS: u32 = 11;

/// Most codes of a table: real ones have 17 at most, one a category.
const CODES_MAX: usize = 256;

/// Threads of a block that work each for itself.
const BLOCK: u32 = 128;

/// Threads of a block that adds up, at most `ADDERS`: each takes a part of the line.
const ADD_BLOCK: u32 = 32;

/// Threads of a block of the wave.
const WAVE_BLOCK: u32 = 128;

/// Largest extent of a grid along y.
const GRID_Y_MAX: u32 = 65535;

/// Blocks along x beyond which blocks loop.
const GRID_X_MAX: u32 = 4096;

/// A Huffman table: `struct Codes` of lossless.cu, which says what the fields are.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Codes {
    pub fast: [u16; 1 << LOOKUP_BITS],
    pub limits: [u32; 16],
    pub offsets: [i32; 16],
    pub values: [u8; CODES_MAX],
}

/// A restart interval: `struct Interval` of lossless.cu.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Interval {
    pub packed: u64,
    pub bits: u64,
    pub marks: u64,
    pub parts: u64,
    pub samples: u64,
    pub codes: [u64; 3],
    pub packed_len: u32,
    pub tiles: u32,
    pub part_count: u32,
    pub frame: u32,
    pub columns: u32,
    pub lines: u32,
    pub components: u32,
    pub phases: u32,
    pub selection: u32,
    pub first: u32,
}

// SAFETY: `repr(C)`; 2048 * 2 + 16 * 4 + 16 * 4 + 256 bytes, each part a multiple of 8.
unsafe impl Plain for Codes {}
// SAFETY: `repr(C)`; 8 * 8 + 10 * 4 bytes, the larger fields first.
unsafe impl Plain for Interval {}

const _: () = assert!(size_of::<Codes>() == 2048 * 2 + 2 * 64 + 256);
const _: () = assert!(size_of::<Interval>() == 8 * 8 + 10 * 4);

impl Codes {
    /// Of a checked table; `None` where it has more codes than fit here.
    pub fn of(table: &Table) -> Option<Codes> {
        let categories = table.categories();
        let mut codes = Codes {
            fast: [0; 1 << LOOKUP_BITS],
            limits: *table.limits(),
            offsets: *table.offsets(),
            values: [0; CODES_MAX],
        };
        codes
            .values
            .get_mut(..categories.len())?
            .copy_from_slice(categories);
        for (next, entry) in (0u32..).zip(&mut codes.fast) {
            if let Some((length, category)) = table.find(next << (16 - LOOKUP_BITS))
                && length <= LOOKUP_BITS
            {
                *entry = length as u16 | u16::from(category) << 8;
            }
        }
        Some(codes)
    }
}

/// Bytes of what an interval needs between, each piece to be aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// [`Interval::bits`].
    pub bits: usize,
    /// [`Interval::marks`].
    pub marks: usize,
    /// [`Interval::parts`].
    pub parts: usize,
}

impl Room {
    /// For an interval of so many stuffed bytes.
    pub fn of(packed_len: usize) -> Room {
        Room {
            bits: packed_len.next_multiple_of(8) + 8,
            marks: (packed_len.div_ceil(TILE_BYTES) + 1).next_multiple_of(2) * 4,
            parts: (packed_len * 8).div_ceil(PART_BITS) * 4 * 4,
        }
    }

    /// All of it.
    pub fn sum(self) -> usize {
        self.bits + self.marks + self.parts
    }
}

/// Intervals in device memory, and the largest there are among them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Intervals {
    /// Of [`Interval`].
    pub address: u64,
    /// How many.
    pub count: u32,
    /// Tiles of an interval.
    pub tiles_max: u32,
    /// Parts of an interval.
    pub parts_max: u32,
    /// Lines times components.
    pub rows_max: u32,
    /// Places where a sum downwards begins.
    pub downs_max: u32,
    /// Components.
    pub components_max: u32,
}

impl Intervals {
    /// Of a list that is put at `address`.
    pub fn new(address: u64, all: &[Interval]) -> Intervals {
        let most = |of: fn(&Interval) -> u32| all.iter().map(of).max().unwrap_or(0);
        Intervals {
            address,
            count: all.len() as u32,
            tiles_max: most(|i| i.tiles),
            parts_max: most(|i| i.part_count),
            rows_max: most(|i| i.lines * i.components),
            downs_max: most(|i| (i.columns + i.lines) * i.components),
            components_max: most(|i| i.components),
        }
    }
}

/// The kernels, loaded into a context.
#[derive(Debug)]
pub(super) struct Lossless {
    count: Kernel,
    place: Kernel,
    unstuff: Kernel,
    sync: Kernel,
    link: Kernel,
    emit: Kernel,
    start: Kernel,
    rows: Kernel,
    down: Kernel,
    wave: Kernel,
    // Owns the kernels.
    _module: Module,
}

impl Lossless {
    /// Has the driver compile them.
    pub fn load(context: &Arc<Context>) -> Result<Lossless, CudaError> {
        let ptx = CString::new(PTX).unwrap_or_default();
        let module = Module::load(context, &ptx)?;
        Ok(Lossless {
            count: module.kernel(c"lossless_count")?,
            place: module.kernel(c"lossless_place")?,
            unstuff: module.kernel(c"lossless_unstuff")?,
            sync: module.kernel(c"lossless_sync")?,
            link: module.kernel(c"lossless_link")?,
            emit: module.kernel(c"lossless_emit")?,
            start: module.kernel(c"lossless_start")?,
            rows: module.kernel(c"lossless_rows")?,
            down: module.kernel(c"lossless_down")?,
            wave: module.kernel(c"lossless_wave")?,
            _module: module,
        })
    }

    /// Makes samples of all intervals, or sets the flags of their frames.
    ///
    /// # Safety
    /// As [`super::kernels::Kernels::launch`].
    pub unsafe fn launch(
        &self,
        told: &Intervals,
        flags: u64,
        stream: &Stream,
    ) -> Result<(), CudaError> {
        if told.count == 0 {
            return Ok(());
        }
        let (mut address, mut count, mut flags) = (told.address, told.count, flags);
        let (mut round, mut rounds) = (0u32, ROUNDS);
        fn arg<T>(value: &mut T) -> *mut c_void {
            (&raw mut *value).cast()
        }
        let grid = |x: u32| (x.clamp(1, GRID_X_MAX), told.count.min(GRID_Y_MAX));
        let each = |items: u32| grid(items.div_ceil(BLOCK));
        let alone = (told.count.min(GRID_X_MAX), 1);
        let mut two = [arg(&mut address), arg(&mut count)];
        let mut three = [two[0], two[1], arg(&mut flags)];
        let mut linked = [two[0], two[1], arg(&mut rounds), three[2]];
        let (tiles, parts) = (each(told.tiles_max), each(told.parts_max));
        let components = grid(told.components_max);
        // SAFETY: the arguments are those of the kernels; the tables are the caller's word.
        unsafe {
            self.count.launch(tiles, BLOCK, stream, &mut two)?;
            self.place.launch(alone, ADD_BLOCK, stream, &mut two)?;
            self.unstuff.launch(tiles, BLOCK, stream, &mut two)?;
            while round < ROUNDS {
                let mut now = [two[0], two[1], arg(&mut round)];
                self.sync.launch(parts, BLOCK, stream, &mut now)?;
                round += 1;
            }
            self.link.launch(alone, ADD_BLOCK, stream, &mut linked)?;
            self.emit.launch(parts, BLOCK, stream, &mut three)?;
            self.start
                .launch(components, ADD_BLOCK, stream, &mut three)?;
            self.rows
                .launch(grid(told.rows_max), ADD_BLOCK, stream, &mut three)?;
            self.down
                .launch(each(told.downs_max), BLOCK, stream, &mut three)?;
            self.wave.launch(components, WAVE_BLOCK, stream, &mut three)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernels::tests::{assert_old_drivers_read, assert_ptx_is_of};
    use super::*;

    #[test]
    fn the_ptx_is_made_of_this_source() {
        assert_ptx_is_of(PTX, "lossless.cu", include_bytes!("lossless.cu"));
        let kernels = [
            "count", "place", "unstuff", "sync", "link", "emit", "start", "rows", "down", "wave",
        ];
        assert_old_drivers_read(PTX, &kernels.map(|name| format!("lossless_{name}")));
    }

    #[test]
    fn source_and_host_speak_of_the_same_numbers() {
        let source = include_str!("lossless.cu");
        for (name, value) in [
            ("PART", PART_BITS as u32),
            ("TILE", TILE_BYTES as u32),
            ("LOOKUP", LOOKUP_BITS),
            ("BROKEN", super::super::kernels::flag::ENDS_EARLY),
            ("UNSETTLED", super::super::kernels::flag::UNSETTLED),
        ] {
            let line = format!("#define {name} {value}u");
            assert!(source.lines().any(|l| l == line), "{line}");
        }
        let adders = "#define ADDERS 128u";
        assert!(source.lines().any(|l| l == adders) && ADD_BLOCK <= 128);
    }
}
