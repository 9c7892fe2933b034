//! The entropy-coded segment as bits: byte unstuffing, and a 64-bit reservoir over the result.
//!
//! Must not know Huffman codes, samples or markers beyond "FF followed by something other than 0".
//! The segment is unstuffed into a scratch buffer first, so that the hot loop refills eight bytes
//! at a time with no search for FF; the copy takes about a hundredth of the decoding time.

/// Zero bytes after the data, so that a refill fails only when the position is so far beyond the
/// end that more bits have been consumed than there were: the reservoir holds at most 63 bits.
const PADDING_BYTES: usize = 16;

/// Bytes searched at once for FF; a multiple of eight, and few enough for vector registers.
const SEARCH_BYTES: usize = 32;

/// One entropy-coded segment (what lies between two markers), unstuffed. Kept for reuse.
#[derive(Debug, Default)]
pub(super) struct Segment {
    bytes: Vec<u8>,
    data_len_bytes: usize,
}

impl Segment {
    /// Fills the segment from `stream[start..]` up to the next marker (FF and a byte other than 0
    /// and FF) or the end of the stream. Returns the position of the FF before the marker, or the
    /// stream's length. The buffer never grows beyond the stream's length plus a constant.
    pub(super) fn fill(&mut self, stream: &[u8], start: usize) -> usize {
        self.bytes.clear();
        let mut rest = stream.get(start..).unwrap_or_default();
        let end = loop {
            let clean = find_ff(rest);
            self.bytes.extend_from_slice(&rest[..clean]);
            match rest[clean..] {
                [_, 0, ..] => {
                    self.bytes.push(0xFF);
                    rest = &rest[clean + 2..];
                }
                // A fill byte before a marker (T.81 B.1.1.2), or a stray FF at the very end.
                [_, 0xFF, ..] => rest = &rest[clean + 1..],
                [_] | [] => break stream.len(),
                _ => break stream.len() - rest.len() + clean,
            }
        };
        self.data_len_bytes = self.bytes.len();
        self.bytes.resize(self.data_len_bytes + PADDING_BYTES, 0);
        end
    }

    /// Bits in the segment, the padding of its last byte included.
    pub(super) fn len_bits(&self) -> u64 {
        self.data_len_bytes as u64 * 8
    }

    /// A reader at the first bit.
    pub(super) fn reader(&self) -> Bits<'_> {
        Bits {
            ahead: &self.bytes,
            len_bytes: self.bytes.len(),
            reservoir: 0,
            count: 0,
            bad_code: false,
        }
    }

    /// How many bytes that say something (neither 00 nor FF, which encoders pad with) follow the
    /// byte in which the reader stands.
    pub(super) fn surplus_bytes(&self, reader: &Bits<'_>) -> usize {
        let used = usize::try_from(reader.consumed_bits().div_ceil(8)).unwrap_or(usize::MAX);
        let rest = self
            .bytes
            .get(used..self.data_len_bytes)
            .unwrap_or_default();
        rest.iter()
            .filter(|&&byte| byte != 0 && byte != 0xFF)
            .count()
    }
}

/// Where [`Segment::fill`] ends, without a copy.
pub(super) fn end_of_segment(stream: &[u8], start: usize) -> usize {
    let mut rest = stream.get(start..).unwrap_or_default();
    loop {
        let clean = find_ff(rest);
        match rest[clean..] {
            [_, 0, ..] => rest = &rest[clean + 2..],
            [_, 0xFF, ..] => rest = &rest[clean + 1..],
            [_] | [] => return stream.len(),
            _ => return stream.len() - rest.len() + clean,
        }
    }
}

/// The index of the first FF, or the length.
fn find_ff(bytes: &[u8]) -> usize {
    let mut base = 0;
    for block in bytes.chunks_exact(SEARCH_BYTES) {
        // No early exit inside a block: this becomes vector compares.
        if block
            .iter()
            .fold(false, |found, &byte| found | (byte == 0xFF))
        {
            break;
        }
        base += SEARCH_BYTES;
    }
    // SWAR over the block with the hit: a byte of the complement is zero exactly where FF was; the
    // lowest flagged byte is right even though borrows may flag higher ones falsely.
    let (words, tail) = bytes[base..].as_chunks::<8>();
    for word in words {
        let inverse = !u64::from_le_bytes(*word);
        let flags = inverse.wrapping_sub(0x0101_0101_0101_0101) & !inverse & 0x8080_8080_8080_8080;
        if flags != 0 {
            return base + flags.trailing_zeros() as usize / 8;
        }
        base += 8;
    }
    base + tail
        .iter()
        .position(|&byte| byte == 0xFF)
        .unwrap_or(tail.len())
}

/// A reader of bits, most significant first. After [`Bits::refill`] at least 56 bits are there;
/// beyond the end of the data they are zeros, which [`Bits::consumed_bits`] shows afterwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bits<'a> {
    /// The bytes to load next; the reservoir may hold some of their bits already.
    ahead: &'a [u8],
    /// Bytes there were at the start, padding included.
    len_bytes: usize,
    /// Unread bits, left-aligned. Below `count` there may be bits of `ahead`, which the
    /// next refill puts there again.
    reservoir: u64,
    /// Bits of the reservoir that count as loaded, 0..=63, in the low six bits; the others hold
    /// what [`Bits::consume`] left there.
    count: u64,
    /// A code was met that the Huffman table does not have.
    pub(super) bad_code: bool,
}

impl Bits<'_> {
    /// Brings the reservoir to at least 56 bits.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        if let Some(word) = self.ahead.first_chunk() {
            self.reservoir |= u64::from_be_bytes(*word) >> (self.count & 63);
            self.ahead = &self.ahead[((!self.count & 63) >> 3) as usize..];
        }
        // Past the padding zeros come in; `consumed_bits` is then beyond the end already.
        self.count |= 56;
    }

    /// The unread bits, left-aligned; the first 56 are valid after a refill.
    #[inline(always)]
    pub(super) fn peek(&self) -> u64 {
        self.reservoir
    }

    /// Takes as many bits as the low six bits of `bits` say, which must be there. Not masking here
    /// takes an instruction off the chain from one symbol to the next.
    #[inline(always)]
    pub(super) fn consume(&mut self, bits: u32) {
        self.reservoir <<= bits & 63;
        self.count = self.count.wrapping_sub(u64::from(bits));
    }

    /// Bits taken since the start; more than the segment has once it has run out.
    pub(super) fn consumed_bits(&self) -> u64 {
        ((self.len_bytes - self.ahead.len()) as u64 * 8).saturating_sub(self.count & 63)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unstuffed(stream: &[u8]) -> (Vec<u8>, usize) {
        let mut segment = Segment::default();
        let end = segment.fill(stream, 0);
        assert_eq!(end_of_segment(stream, 0), end);
        (segment.bytes[..segment.data_len_bytes].to_vec(), end)
    }

    #[test]
    fn stuffing_goes_and_markers_end_the_segment() {
        assert_eq!(unstuffed(&[1, 2, 3]), (vec![1, 2, 3], 3));
        assert_eq!(unstuffed(&[1, 0xFF, 0, 3]), (vec![1, 0xFF, 3], 4));
        assert_eq!(unstuffed(&[1, 0xFF, 0xD9, 3]), (vec![1], 1));
        assert_eq!(unstuffed(&[1, 0xFF, 0xFF, 0xD0]), (vec![1], 2));
        assert_eq!(unstuffed(&[1, 0xFF]), (vec![1], 2));
        assert_eq!(unstuffed(&[]), (vec![], 0));
        assert_eq!(unstuffed(&[0xFF, 0, 0xFF, 0]), (vec![0xFF, 0xFF], 4));
    }

    #[test]
    fn ff_is_found_wherever_it_stands() {
        for len in 0..100 {
            let mut bytes: Vec<u8> = (0..len).map(|i| [0, 0xFE, 0x80, 0x01][i % 4]).collect();
            assert_eq!(find_ff(&bytes), len);
            for at in (0..len).rev() {
                bytes[at] = 0xFF;
                assert_eq!(find_ff(&bytes), at);
            }
        }
    }

    #[test]
    fn bits_come_in_order_and_running_out_shows() {
        let stream: Vec<u8> = (1..=40).collect();
        let mut segment = Segment::default();
        segment.fill(&stream, 0);
        let mut bits = segment.reader();
        for (i, &byte) in stream.iter().enumerate() {
            for width in [3, 5] {
                bits.refill();
                let want = if width == 3 { byte >> 5 } else { byte & 31 };
                assert_eq!(bits.peek() >> (64 - width), u64::from(want), "byte {i}");
                bits.consume(width);
            }
        }
        assert_eq!(bits.consumed_bits(), segment.len_bits());
        assert_eq!(segment.surplus_bytes(&bits), 0);
        for _ in 0..100 {
            bits.refill();
            assert_eq!(bits.peek() >> 8, 0);
            bits.consume(31);
            assert!(bits.consumed_bits() > segment.len_bits());
        }
    }
}
