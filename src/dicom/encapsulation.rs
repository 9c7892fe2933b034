//! Encapsulated Pixel Data (PS3.5 A.4): which fragments make up which frame.
//!
//! Reads item headers only. The rules, in order: the Extended Offset Table; the Basic Offset
//! Table, believed only when it points at items; as many fragments as frames; one frame takes all
//! fragments; else a frame starts where a fragment starts like a codestream. What none of them
//! settles is an error, never a guess, and so is a table that names each item once but in
//! another order. Knows nothing of decoding.

use super::limits::FRAGMENTS_MAX;
use super::{CodecFamily, Error, PixelDataLocation, ReadAt, read_full_at, tags};

mod items;
#[cfg(test)]
mod tests;

use items::{Ending, Items, read_items};

/// A run of encoded bytes in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Absolute offset in bytes of the first byte of the item's value.
    pub offset_bytes: u64,
    /// Length in bytes, clipped to the end of the file.
    pub length_bytes: u64,
}

/// How much of a frame the file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameState {
    /// All of it.
    Whole,
    /// The file ends within it.
    Truncated,
    /// The file ends before it.
    Missing,
}

/// Where the encoded bytes of one frame lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedFrame<'a> {
    /// The fragments, to be concatenated.
    pub fragments: &'a [Fragment],
    /// Whether that is all of them.
    pub state: FrameState,
}

impl EncodedFrame<'_> {
    /// Bytes of all fragments together.
    pub fn length_bytes(&self) -> u64 {
        self.fragments
            .iter()
            .map(|fragment| fragment.length_bytes)
            .sum()
    }
}

/// The fragments of every frame of an encapsulated pixel element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameTable {
    fragments: Vec<Fragment>,
    /// For each frame that the file holds some of: the index after its last fragment.
    ends: Vec<u32>,
    frame_count: u32,
    /// The file ends within the last frame of `ends`.
    last_truncated: bool,
    basic_offset_table_entries: u32,
}

impl FrameTable {
    /// Reads the table of the pixel element at `location`.
    ///
    /// `number_of_frames` is the header's; `codec` says what a codestream starts with. Costs one
    /// read of up to 4 KiB an item, or with an Extended Offset Table 8 bytes a frame.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the fragments cannot be assigned to frames, [`Error::TooLarge`]
    /// over [`FRAGMENTS_MAX`], [`Error::Io`] when a read fails. A file that ends early is no
    /// error here: the frames it lacks say so.
    pub fn read<R: ReadAt + ?Sized>(
        source: &R,
        file_len_bytes: u64,
        location: &PixelDataLocation,
        number_of_frames: u32,
        codec: CodecFamily,
    ) -> Result<FrameTable, Error> {
        let table = Basic::read(source, file_len_bytes, location)?;
        if let Some(frames) = extended(source, file_len_bytes, location, &table, number_of_frames)?
        {
            return Ok(frames);
        }
        let items = read_items(source, file_len_bytes, location, table.end_bytes, codec)?;
        assign(items, &table, number_of_frames, location)
    }

    /// Number of frames, the header's.
    pub fn frame_count(&self) -> u32 {
        self.frame_count
    }

    /// Number of fragments, those of no use left out.
    pub fn fragment_count(&self) -> usize {
        self.fragments.len()
    }

    /// Entries of the Basic Offset Table as written, believed or not.
    pub fn basic_offset_table_entries(&self) -> u32 {
        self.basic_offset_table_entries
    }

    /// The fragments of a frame; `None` for an index beyond the last.
    pub fn frame(&self, frame_index: u32) -> Option<EncodedFrame<'_>> {
        if frame_index >= self.frame_count {
            return None;
        }
        let index = frame_index as usize;
        let Some(end) = self.ends.get(index) else {
            return Some(EncodedFrame {
                fragments: &[],
                state: FrameState::Missing,
            });
        };
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        let last = index + 1 == self.ends.len();
        let state = if last && self.last_truncated {
            FrameState::Truncated
        } else {
            FrameState::Whole
        };
        Some(EncodedFrame {
            fragments: &self.fragments[start as usize..*end as usize],
            state,
        })
    }
}

/// The Basic Offset Table (PS3.5 A.4): the first item, often empty.
struct Basic {
    entries: Vec<u32>,
    entry_count: u32,
    /// Where the first fragment's item starts: what the offsets count from.
    end_bytes: u64,
}

impl Basic {
    fn read<R: ReadAt + ?Sized>(
        source: &R,
        file_len_bytes: u64,
        location: &PixelDataLocation,
    ) -> Result<Basic, Error> {
        let mut header = [0; 8];
        let start = location.offset_bytes;
        let read = read_full_at(source, start, &mut header)?;
        let value = start.saturating_add(8);
        if read < header.len() {
            return Err(truncated(file_len_bytes, value));
        }
        let (tag, length) = items::item_header(header);
        if tag != tags::ITEM || length == u32::MAX {
            return Err(malformed(start, "Pixel Data does not start with an item"));
        }
        let end_bytes = value + u64::from(length);
        if end_bytes > file_len_bytes {
            return Err(truncated(file_len_bytes, end_bytes));
        }
        let entry_count = length / 4;
        if entry_count as usize > FRAGMENTS_MAX {
            return Err(too_many());
        }
        let mut bytes = vec![0; entry_count as usize * 4];
        if read_full_at(source, value, &mut bytes)? < bytes.len() {
            return Err(truncated(file_len_bytes, end_bytes));
        }
        let (words, _) = bytes.as_chunks::<4>();
        Ok(Basic {
            entries: words.iter().map(|word| u32::from_le_bytes(*word)).collect(),
            entry_count,
            end_bytes,
        })
    }
}

/// The frames by the Extended Offset Table (PS3.3 C.7.6.3.1.8): one fragment a frame. `None` when
/// there is no table or it does not fit the items it points at.
fn extended<R: ReadAt + ?Sized>(
    source: &R,
    file_len_bytes: u64,
    location: &PixelDataLocation,
    table: &Basic,
    number_of_frames: u32,
) -> Result<Option<FrameTable>, Error> {
    let Some([offsets, lengths]) = location.extended_offset_table else {
        return Ok(None);
    };
    let wanted_bytes = u64::from(number_of_frames) * 8;
    let fits = |(start, length): (u64, u64)| {
        length == wanted_bytes && start.saturating_add(length) <= file_len_bytes
    };
    if number_of_frames as usize > FRAGMENTS_MAX || !fits(offsets) || !fits(lengths) {
        return Ok(None);
    }
    let (Some(offsets), Some(lengths)) = (
        read_u64s(source, offsets.0, number_of_frames)?,
        read_u64s(source, lengths.0, number_of_frames)?,
    ) else {
        return Ok(None);
    };
    let is_ascending = offsets.is_sorted();
    let mut places: Vec<(u64, u64)> = offsets.into_iter().zip(lengths).collect();
    places.sort_unstable();
    let mut fragments = Vec::with_capacity(places.len());
    let mut earliest = table.end_bytes;
    for (offset, length) in places {
        let start = table.end_bytes.saturating_add(offset);
        let value = start.saturating_add(8);
        let mut header = [0; 8];
        // An offset beyond the file must not reach the operating system, which may refuse it.
        let outside = start < earliest || value > file_len_bytes;
        if outside || read_full_at(source, start, &mut header)? < header.len() {
            return Ok(None);
        }
        let (tag, item_length) = items::item_header(header);
        let item_end = value + u64::from(item_length);
        if tag != tags::ITEM || length > u64::from(item_length) || item_end > file_len_bytes {
            return Ok(None);
        }
        fragments.push(Fragment {
            offset_bytes: value,
            length_bytes: length,
        });
        earliest = item_end;
    }
    if !is_ascending {
        // As with a Basic Offset Table: see `is_permuted`.
        let what = "the Extended Offset Table gives frames another order than their items have";
        return Err(malformed(location.offset_bytes, what));
    }
    Ok(Some(FrameTable {
        ends: (1..=number_of_frames).collect(),
        fragments,
        frame_count: number_of_frames,
        last_truncated: false,
        basic_offset_table_entries: table.entry_count,
    }))
}

fn read_u64s<R: ReadAt + ?Sized>(
    source: &R,
    offset_bytes: u64,
    count: u32,
) -> Result<Option<Vec<u64>>, Error> {
    let mut bytes = vec![0; count as usize * 8];
    if read_full_at(source, offset_bytes, &mut bytes)? < bytes.len() {
        return Ok(None);
    }
    let (words, _) = bytes.as_chunks::<8>();
    Ok(Some(
        words.iter().map(|word| u64::from_le_bytes(*word)).collect(),
    ))
}

/// Assigns the fragments found to frames.
fn assign(
    mut items: Items,
    table: &Basic,
    number_of_frames: u32,
    location: &PixelDataLocation,
) -> Result<FrameTable, Error> {
    let frames = number_of_frames as usize;
    // Trailing items without bytes hold no frame as long as there are enough others.
    while items.fragments.len() > frames.max(1)
        && items
            .fragments
            .last()
            .is_some_and(|last| last.length_bytes == 0)
        && !items.last_cut
    {
        items.fragments.pop();
        items.starts.pop();
    }
    let cut = items.ending == Ending::EndOfFile;
    let basic = by_basic_offset_table(&items, table, number_of_frames);
    if basic.is_none() && items.fragments.len() == frames && is_permuted(&items, table) {
        let what = "the Basic Offset Table gives frames another order than their items have";
        return Err(malformed(location.offset_bytes, what));
    }
    let ends = if let Some(ends) = basic {
        ends
    } else if items.fragments.len() == frames && !items.last_cut {
        (1..=number_of_frames).collect()
    } else if number_of_frames == 1 && !items.fragments.is_empty() {
        vec![items.fragments.len() as u32]
    } else {
        let ends = by_codestreams(&items);
        let fits = if cut {
            ends.len() <= frames
        } else {
            ends.len() == frames
        };
        if !fits || (ends.is_empty() && frames > 0 && !cut) {
            let what = "the fragments cannot be assigned to frames";
            return Err(malformed(location.offset_bytes, what));
        }
        ends
    };
    let whole = ends.len() == frames;
    if items.ending == Ending::NoItem && !whole {
        return Err(malformed(
            location.offset_bytes,
            "an item was expected after a fragment",
        ));
    }
    // A missing delimiter alone is no harm: frames that are all there are whole. With frames
    // missing, the last one that is there may lack fragments.
    let last_truncated = items.last_cut || (cut && !whole && !items.one_fragment_a_frame(&ends));
    Ok(FrameTable {
        fragments: items.fragments,
        ends,
        frame_count: number_of_frames,
        last_truncated,
        basic_offset_table_entries: table.entry_count,
    })
}

/// Frame ends by the Basic Offset Table, if it has an entry for each frame, starts at 0, ascends
/// and points at items. In a file that ends early, entries beyond its end are frames it lacks.
fn by_basic_offset_table(items: &Items, table: &Basic, number_of_frames: u32) -> Option<Vec<u32>> {
    let ascending = table.entries.windows(2).all(|pair| pair[0] < pair[1]);
    if table.entry_count != number_of_frames || table.entries.first() != Some(&0) || !ascending {
        return None;
    }
    let cut = items.ending == Ending::EndOfFile;
    let mut ends = Vec::with_capacity(table.entries.len());
    let mut fragment = 0;
    for next in &table.entries[1..] {
        let start = table.end_bytes + u64::from(*next) + 8;
        let passed = items.fragments[fragment..]
            .iter()
            .take_while(|f| f.offset_bytes < start);
        let passed = passed.count();
        fragment += passed;
        let found = items
            .fragments
            .get(fragment)
            .is_some_and(|f| f.offset_bytes == start);
        let beyond_end = cut && fragment == items.fragments.len();
        if !found && !beyond_end {
            return None;
        }
        if passed > 0 {
            ends.push(fragment as u32);
        }
        if !found {
            return Some(ends);
        }
    }
    if fragment < items.fragments.len() {
        ends.push(items.fragments.len() as u32);
    }
    Some(ends)
}

/// Whether the Basic Offset Table names every item once, in another order. That is no leftover of
/// another file: it says that the frames lie in another order, and readers disagree about which
/// order counts.
fn is_permuted(items: &Items, table: &Basic) -> bool {
    let mut starts: Vec<u64> = table
        .entries
        .iter()
        .map(|entry| table.end_bytes + u64::from(*entry) + 8)
        .collect();
    let is_sorted = starts.is_sorted();
    starts.sort_unstable();
    let found = items.fragments.iter().map(|f| f.offset_bytes);
    !is_sorted && found.eq(starts)
}

/// Frame ends by where codestreams start; none when the first fragment does not start one.
fn by_codestreams(items: &Items) -> Vec<u32> {
    if items.starts.first() != Some(&true) {
        return Vec::new();
    }
    let starts = items.starts.iter().enumerate().skip(1);
    let starts = starts
        .filter(|(_, start)| **start)
        .map(|(index, _)| index as u32);
    starts.chain([items.starts.len() as u32]).collect()
}

fn malformed(offset_bytes: u64, what: &'static str) -> Error {
    Error::Malformed {
        tag: Some(tags::PIXEL_DATA),
        offset_bytes,
        what,
    }
}

fn truncated(end_bytes: u64, needed_bytes: u64) -> Error {
    Error::Truncated {
        end_bytes,
        needed_bytes,
    }
}

fn too_many() -> Error {
    Error::TooLarge {
        what: "the number of fragments",
        limit: FRAGMENTS_MAX as u64,
    }
}
