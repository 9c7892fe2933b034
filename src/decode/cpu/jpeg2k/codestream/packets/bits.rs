//! Bits of a packet header (T.800 B.10.1), and the tag trees in them (B.10.2).

use super::Lost;

/// Reads bits; behind a byte FF the next byte has seven.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    byte: u8,
    left: u32,
}

impl<'a> Bits<'a> {
    pub fn new(bytes: &'a [u8]) -> Bits<'a> {
        Bits {
            bytes,
            at: 0,
            byte: 0,
            left: 0,
        }
    }

    pub fn bit(&mut self) -> Result<bool, Lost> {
        if self.left == 0 {
            self.left = if self.byte == 0xFF { 7 } else { 8 };
            self.byte = *self.bytes.get(self.at).ok_or(Lost::Broken)?;
            self.at += 1;
        }
        self.left -= 1;
        Ok(self.byte >> self.left & 1 == 1)
    }

    /// A number of up to 31 bits, most significant first.
    pub fn number(&mut self, count: u32) -> Result<u32, Lost> {
        let mut number = 0;
        for _ in 0..count {
            number = number << 1 | u32::from(self.bit()?);
        }
        Ok(number)
    }

    /// The number of coding passes (T.800 Table B.4).
    pub fn pass_count(&mut self) -> Result<u32, Lost> {
        for (count, bits) in [(1, 0), (2, 0)] {
            if !self.bit()? {
                return Ok(count + bits);
            }
        }
        for (least, width) in [(3, 2), (6, 5)] {
            let more = self.number(width)?;
            if more != (1 << width) - 1 {
                return Ok(least + more);
            }
        }
        Ok(37 + self.number(7)?)
    }

    /// Bytes of the header, which ends at a byte; a last byte FF is followed by one more.
    pub fn end(mut self) -> Result<usize, Lost> {
        if self.byte == 0xFF {
            self.left = 0;
            self.bit()?;
        }
        Ok(self.at)
    }
}

/// A node of a tag tree: the value is `low` or more, and just that when `known`.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    low: u32,
    known: bool,
}

/// A tag tree over a grid.
pub(super) struct TagTree {
    /// Width of each level, from the leaves up.
    widths: Vec<usize>,
    /// Where the nodes of each level start.
    starts: Vec<usize>,
    nodes: Vec<Node>,
}

impl TagTree {
    pub fn new(width: usize, height: usize) -> TagTree {
        let (mut width, mut height) = (width, height);
        let (mut widths, mut starts) = (Vec::new(), Vec::new());
        let mut count = 0;
        loop {
            widths.push(width);
            starts.push(count);
            count += width * height;
            if width * height <= 1 {
                break;
            }
            (width, height) = (width.div_ceil(2), height.div_ceil(2));
        }
        TagTree {
            widths,
            starts,
            nodes: vec![Node::default(); count],
        }
    }

    /// Reads until it is known whether the value of a leaf is below `limit`.
    pub fn is_below(&mut self, bits: &mut Bits<'_>, leaf: usize, limit: u32) -> Result<bool, Lost> {
        let width = self.widths[0].max(1);
        let (x, y) = (leaf % width, leaf / width);
        let mut low = 0;
        let mut known = false;
        for level in (0..self.widths.len()).rev() {
            let place = self.starts[level] + (y >> level) * self.widths[level] + (x >> level);
            let node = &mut self.nodes[place];
            low = low.max(node.low);
            while low < limit && !node.known {
                if bits.bit()? {
                    node.known = true;
                } else {
                    low += 1;
                }
            }
            node.low = low;
            known = node.known;
        }
        Ok(known && low < limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pass_counts_are_those_of_the_table() {
        let count = |bytes: &[u8]| Bits::new(bytes).pass_count();
        for (bytes, wanted) in [
            ([0b0000_0000, 0, 0], 1),
            ([0b1000_0000, 0, 0], 2),
            ([0b1100_0000, 0, 0], 3),
            ([0b1110_0000, 0, 0], 5),
            ([0b1111_0000, 0, 0], 6),
            ([0b1111_1111, 0b0000_0000, 0], 36),
            ([0b1111_1111, 0b0100_0000, 0], 37),
            ([0b1111_1111, 0b0111_1111, 0b1000_0000], 164),
        ] {
            assert_eq!(count(&bytes), Ok(wanted), "{bytes:?}");
        }
        assert_eq!(count(&[0xFF]), Err(Lost::Broken));
    }

    #[test]
    fn a_header_that_ends_in_ff_has_a_byte_more() {
        let mut bits = Bits::new(&[0xFF, 0x00, 0x12]);
        assert_eq!(bits.number(8), Ok(0xFF));
        assert_eq!(bits.end(), Ok(2));
        assert_eq!(Bits::new(&[0x80]).end(), Ok(0));
    }

    #[test]
    fn the_tree_of_the_standard() {
        // T.800 B.10.2: a 6 x 3 grid whose first three values are 1, 3 and 2.
        let mut bits = Bits::new(&[0b0111_1001, 0b1010_0000]);
        let mut tree = TagTree::new(6, 3);
        let mut value = |leaf| {
            let mut limit = 1;
            while !tree.is_below(&mut bits, leaf, limit).unwrap() {
                limit += 1;
            }
            limit - 1
        };
        assert_eq!([value(0), value(1), value(2)], [1, 3, 2]);
    }
}
