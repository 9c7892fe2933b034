//! Bytes of a file to a resident and back, through pinned memory.
//!
//! `unsafe` because copies go on after the calls that start them: what they read and write is left
//! alone until the stage has been waited for.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::stage::{ALIGN, Failure, STAGE_BYTES, Stages, TABLES_BYTES, loads};
use super::table::Resident;
use crate::decode::gpu::driver::DeviceMemory;
use crate::decode::gpu::resident::Piece;

/// Copies of one load at most.
const COPIES_MAX: usize = 1024;

/// Pieces no longer than a stage.
fn cut(pieces: &[Piece]) -> Vec<Vec<Piece>> {
    let step = STAGE_BYTES as u64;
    let cut = pieces.iter().flat_map(|piece| {
        (0..piece.len_bytes.div_ceil(step)).map(move |n| Piece {
            file_offset_bytes: piece.file_offset_bytes + n * step,
            offset_bytes: piece.offset_bytes + n * step,
            len_bytes: step.min(piece.len_bytes - n * step),
        })
    });
    loads(cut.collect(), |piece| piece.len_bytes as usize, COPIES_MAX)
}

/// Where the pieces of a load lie in a stage.
fn places(load: &[Piece]) -> impl Iterator<Item = (&Piece, usize)> {
    let mut at = TABLES_BYTES;
    load.iter().map(move |piece| {
        let place = at;
        at += (piece.len_bytes as usize).next_multiple_of(ALIGN);
        (piece, place)
    })
}

/// Copies pieces of a file to a resident; both were checked. The caller waits for the stages, whatever
/// this returns.
///
/// # Errors
///
/// The file is shorter than it was, or cannot be read; or the driver fails.
pub fn upload(
    stages: &mut Stages,
    resident: &Resident,
    file: &File,
    pieces: &[Piece],
) -> Result<(), Failure> {
    for (n, load) in cut(pieces).iter().enumerate() {
        let (stage, context) = stages.turn(n);
        stage.wait()?;
        let host = stage.host(context);
        for (piece, at) in places(load) {
            let bytes = &mut host[at..][..piece.len_bytes as usize];
            file.read_exact_at(bytes, piece.file_offset_bytes)?;
        }
        let from = host.as_ptr();
        stage.set_under_way();
        for (piece, at) in places(load) {
            // SAFETY: a part of the pinned memory, which is left alone until the stage is waited for.
            let bytes =
                unsafe { std::slice::from_raw_parts(from.add(at), piece.len_bytes as usize) };
            let to = memory(resident);
            // SAFETY: as above.
            unsafe { to.upload(piece.offset_bytes as usize, bytes, &stage.stream)? };
        }
    }
    Ok(())
}

/// Copies pieces of a resident to a file; both were checked. The caller waits for the stages, whatever
/// this returns.
///
/// # Errors
///
/// The file cannot be written; or the driver fails.
pub fn download(
    stages: &mut Stages,
    resident: &Resident,
    file: &File,
    pieces: &[Piece],
) -> Result<(), Failure> {
    let loads = cut(pieces);
    // One is written to the file while the next is copied from the device.
    for n in 0..=loads.len() {
        if let Some(load) = loads.get(n) {
            let (stage, context) = stages.turn(n);
            stage.wait()?;
            let to = stage.host(context).as_mut_ptr();
            stage.set_under_way();
            for (piece, at) in places(load) {
                let (from, len) = (piece.offset_bytes as usize, piece.len_bytes as usize);
                // SAFETY: a part of the pinned memory, left alone until the stage is waited for.
                unsafe { memory(resident).download(from, to.add(at), len, &stage.stream)? };
            }
        }
        if let Some((before, load)) = n.checked_sub(1).zip(loads.get(n.wrapping_sub(1))) {
            let (stage, context) = stages.turn(before);
            stage.wait()?;
            let host = stage.host(context);
            for (piece, at) in places(load) {
                let bytes = &host[at..][..piece.len_bytes as usize];
                file.write_all_at(bytes, piece.file_offset_bytes)?;
            }
        }
    }
    Ok(())
}

fn memory(resident: &Resident) -> &DeviceMemory {
    resident.memory()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_cut_where_a_stage_ends() {
        let stage = STAGE_BYTES as u64;
        let piece = |file_offset_bytes, offset_bytes, len_bytes| Piece {
            file_offset_bytes,
            offset_bytes,
            len_bytes,
        };
        let loads = cut(&[piece(7, 100, 2 * stage + 5), piece(0, 0, 9)]);
        let expected = vec![
            vec![piece(7, 100, stage)],
            vec![piece(7 + stage, 100 + stage, stage)],
            vec![piece(7 + 2 * stage, 100 + 2 * stage, 5), piece(0, 0, 9)],
        ];
        assert_eq!(loads, expected);
        let places: Vec<usize> = places(&loads[2]).map(|(_, at)| at).collect();
        assert_eq!(places, [TABLES_BYTES, TABLES_BYTES + ALIGN]);
    }
}
