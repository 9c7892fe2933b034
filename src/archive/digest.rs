//! Digests of pixel elements, for the few files whose headers do not tell them apart.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Error, Record, Source};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Most bytes to read for one series: one that is full of copies is still shown in seconds.
pub const DIGESTED_BYTES_MAX: u64 = 1 << 30;

/// SHA-256 of the pixel element of each record, by path, and how many records there were no bytes
/// left for. A file that cannot be read or has changed has none: nothing follows from it.
pub fn pixel_digests(
    source: &Source,
    records: &[Arc<Record>],
    bytes_max: u64,
) -> (HashMap<PathBuf, [u8; 32]>, usize) {
    let mut left_bytes = bytes_max;
    let mut digests = HashMap::with_capacity(records.len());
    let mut skipped = 0;
    for record in records {
        let length = pixel_range(record).map_or(0, |(_, length)| length);
        if length > left_bytes {
            skipped += 1;
            continue;
        }
        left_bytes -= length;
        match pixel_digest(source, record) {
            Ok(Some(digest)) => {
                digests.insert(record.path.clone(), digest);
            }
            Ok(None) => {}
            // Without the path, which may name a patient. The slice stays reported as repeated.
            Err(_) => tracing::debug!("a file vanished or changed before its pixels were compared"),
        }
    }
    (digests, skipped)
}

/// Offset and length of a record's pixel element as far as the file goes.
fn pixel_range(record: &Record) -> Option<(u64, u64)> {
    let location = record.instance.pixel_data?;
    let available = record.identity.size_bytes;
    let available = available.checked_sub(location.offset_bytes)?;
    let length = location.length_bytes.unwrap_or(u64::MAX).min(available);
    Some((location.offset_bytes, length))
}

fn pixel_digest(source: &Source, record: &Record) -> Result<Option<[u8; 32]>, Error> {
    let Some((mut offset, length)) = pixel_range(record) else {
        return Ok(None);
    };
    let file = source.open(record)?;
    let failed = |error| Error::io(&source.path(record), error);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES.min(length as usize)];
    let mut left = length;
    while left > 0 {
        let chunk = &mut buffer[..CHUNK_BYTES.min(left as usize)];
        file.read_exact_at(chunk, offset).map_err(failed)?;
        hash.update(&*chunk);
        offset += chunk.len() as u64;
        left -= chunk.len() as u64;
    }
    source.verify(&file, record)?;
    Ok(Some(hash.finalize().into()))
}
