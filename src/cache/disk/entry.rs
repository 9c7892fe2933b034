//! What an entry of the disk tier looks like: the frames of one slab, and what proves them.
//!
//! ```text
//! magic (8)  format (u32)  maker (32)  name (32)
//! slab header length (u64)  frame length (u64)  frame count (u64)
//! key length (u32)  key
//! CRC-32 of each frame (u32 each)
//! CRC-32 of all of the above (u32)
//! zeros up to a multiple of 4096
//! the frames, one after the other
//! ```
//!
//! Numbers are little-endian. A reader knows beforehand what everything up to the checksums has to
//! be, so nothing of it is parsed: it is right or it is not. The checksum of a frame starts with the
//! entry's name and the frame's number, so that no frame passes for another. Pure.

use sha2::{Digest, Sha256};

use crate::hash::hex;

/// First bytes of an entry.
pub(super) const MAGIC: [u8; 8] = *b"dicomfs\x01";

/// Version of what this module writes.
pub(super) const FORMAT: u32 = 1;

/// Bytes that tell whose an entry is: magic, format, maker.
pub(super) const OWNER_LEN_BYTES: usize = 8 + 4 + 32;

/// Frames start at a multiple of this.
const ALIGNMENT_BYTES: u64 = 4096;

/// What of a slab's layout matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) header_len_bytes: u64,
    pub(super) frame_len_bytes: u64,
    pub(super) frame_count: u64,
}

/// What is known of an entry before it is read: its name, and everything up to the checksums.
#[derive(Debug)]
pub(super) struct Plan {
    name: [u8; 32],
    shape: Shape,
    fixed: Vec<u8>,
}

/// What identifies the program that wrote an entry: frames of another one are not used.
pub(super) fn owner(maker: &str) -> [u8; OWNER_LEN_BYTES] {
    let mut owner = [0; OWNER_LEN_BYTES];
    owner[..8].copy_from_slice(&MAGIC);
    owner[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    owner[12..].copy_from_slice(&Sha256::digest(maker));
    owner
}

impl Plan {
    pub(super) fn new(owner: &[u8; OWNER_LEN_BYTES], key: &[u8], shape: Shape) -> Plan {
        let name: [u8; 32] = Sha256::new()
            .chain_update(owner)
            .chain_update(key)
            .finalize()
            .into();
        let mut fixed = owner.to_vec();
        fixed.extend(name);
        for number in [
            shape.header_len_bytes,
            shape.frame_len_bytes,
            shape.frame_count,
        ] {
            fixed.extend(number.to_le_bytes());
        }
        fixed.extend((key.len() as u32).to_le_bytes());
        fixed.extend(key);
        Plan { name, shape, fixed }
    }

    /// The entry's name: lower-case hex.
    pub(super) fn name(&self) -> String {
        hex(&self.name)
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Bytes before the frames, without the padding.
    pub(super) fn head_len_bytes(&self) -> u64 {
        self.fixed.len() as u64 + 4 * self.shape.frame_count + 4
    }

    /// Where a frame lies in the entry.
    pub(super) fn offset_bytes(&self, frame: usize) -> u64 {
        let first = self.head_len_bytes().next_multiple_of(ALIGNMENT_BYTES);
        first + frame as u64 * self.shape.frame_len_bytes
    }

    /// Length of the whole entry.
    pub(super) fn len_bytes(&self) -> u64 {
        self.offset_bytes(self.shape.frame_count as usize)
    }

    /// The checksum of a frame of this entry.
    pub(super) fn checksum(&self, frame: usize, bytes: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.name);
        crc.update(&(frame as u64).to_le_bytes());
        crc.update(bytes);
        crc.finalize()
    }

    /// The bytes before the frames.
    pub(super) fn head(&self, checksums: &[u32]) -> Vec<u8> {
        let mut head = self.fixed.clone();
        head.extend(checksums.iter().flat_map(|sum| sum.to_le_bytes()));
        head.extend(crc32fast::hash(&head).to_le_bytes());
        head
    }

    /// The checksums of the frames, from the bytes before the frames; `None` unless these are whole
    /// and of this very entry.
    pub(super) fn checksums(&self, head: &[u8]) -> Option<Vec<u32>> {
        let (body, sum) = head.split_last_chunk::<4>()?;
        let is_whole = head.len() as u64 == self.head_len_bytes();
        if !is_whole || crc32fast::hash(body).to_le_bytes() != *sum {
            return None;
        }
        let table = body.strip_prefix(self.fixed.as_slice())?;
        let sums = table.chunks_exact(4);
        Some(
            sums.map(|sum| u32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]]))
                .collect(),
        )
    }
}
