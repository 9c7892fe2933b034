//! PNG of 8-bit grey or RGB whose length follows from its dimensions alone (PNG, third edition).
//!
//! The samples go into stored deflate blocks (RFC 1951 3.2.4): nothing is compressed, so that
//! `stat` can promise the size before there is a pixel. Every row has filter 0 and there is one
//! IDAT chunk. Knows nothing of volumes.

use flate2::Crc;

/// What every PNG file begins with (5.2).
const SIGNATURE: &[u8; 8] = b"\x89PNG\r\n\x1a\n";

/// Length, type and CRC of a chunk (5.3).
const CHUNK_FRAME_BYTES: u64 = 12;

/// Data of the IHDR chunk (11.2.1).
const IHDR_BYTES: u64 = 13;

/// Largest length of a chunk's data, and largest width and height (5.3, 11.2.1).
const PNG_NUMBER_MAX: u64 = (1 << 31) - 1;

/// Most bytes of a stored block: its length has 16 bits (RFC 1951 3.2.4).
const BLOCK_BYTES_MAX: u64 = 0xFFFF;

/// Header of a stored block: three bits and padding, the length, and its complement.
const BLOCK_HEADER_BYTES: u64 = 5;

/// Header of a zlib stream that has a window of 32 KiB and the lowest level (RFC 1950 2.2).
const ZLIB_HEADER: [u8; 2] = [0x78, 0x01];

/// Adler-32 at the end of a zlib stream.
const ZLIB_TRAILER_BYTES: u64 = 4;

/// What a pixel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// One grey sample.
    Grey,
    /// Red, green and blue.
    Rgb,
}

impl Channels {
    /// Samples of a pixel, which are its bytes.
    pub fn count(self) -> usize {
        match self {
            Channels::Grey => 1,
            Channels::Rgb => 3,
        }
    }

    /// Colour type of IHDR.
    fn color_type(self) -> u8 {
        match self {
            Channels::Grey => 0,
            Channels::Rgb => 2,
        }
    }
}

/// Why there is no PNG.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A width or height of 0, or more than one chunk holds.
    #[error("no PNG of {width} x {height} pixels")]
    Dimensions {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// The samples are not those of a picture of these dimensions.
    #[error("{got} bytes of samples instead of {expected}")]
    Samples {
        /// What the dimensions ask for.
        expected: u64,
        /// What was given.
        got: u64,
    },
}

/// Length in bytes of the file of such a picture; `u64::MAX` where [`encode`] refuses it for its
/// size.
pub fn len_bytes(width: u32, height: u32, channels: Channels) -> u64 {
    match zlib_len_bytes(width, height, channels) {
        Some(zlib) => SIGNATURE.len() as u64 + 3 * CHUNK_FRAME_BYTES + IHDR_BYTES + zlib,
        None => u64::MAX,
    }
}

/// Rows with their filter bytes. Sides below 2^31 keep it within 64 bits.
fn filtered_len_bytes(width: u32, height: u32, channels: Channels) -> u64 {
    (u64::from(width) * channels.count() as u64 + 1) * u64::from(height)
}

/// The zlib stream, `None` when the picture is refused.
fn zlib_len_bytes(width: u32, height: u32, channels: Channels) -> Option<u64> {
    let sides = 1..=PNG_NUMBER_MAX;
    if !sides.contains(&u64::from(width)) || !sides.contains(&u64::from(height)) {
        return None;
    }
    let filtered = filtered_len_bytes(width, height, channels);
    let blocks = filtered.div_ceil(BLOCK_BYTES_MAX);
    let overhead = ZLIB_HEADER.len() as u64 + ZLIB_TRAILER_BYTES;
    let len = filtered.checked_add(blocks * BLOCK_HEADER_BYTES + overhead)?;
    (len <= PNG_NUMBER_MAX).then_some(len)
}

/// The PNG file of `samples`: rows from the top, pixels from the left, samples interleaved.
///
/// # Errors
///
/// [`Error::Dimensions`] for an empty picture or one of more than 2 GiB; [`Error::Samples`] when
/// `samples` is not `width * height * channels` long.
pub fn encode(
    width: u32,
    height: u32,
    channels: Channels,
    samples: &[u8],
) -> Result<Vec<u8>, Error> {
    let zlib_len =
        zlib_len_bytes(width, height, channels).ok_or(Error::Dimensions { width, height })?;
    let row_len = width as usize * channels.count();
    let expected = row_len as u64 * u64::from(height);
    if samples.len() as u64 != expected {
        return Err(Error::Samples {
            expected,
            got: samples.len() as u64,
        });
    }
    let mut filtered = Vec::with_capacity(filtered_len_bytes(width, height, channels) as usize);
    for row in samples.chunks_exact(row_len) {
        filtered.push(0);
        filtered.extend_from_slice(row);
    }
    let mut png = Vec::with_capacity(len_bytes(width, height, channels) as usize);
    png.extend_from_slice(SIGNATURE);
    let mut header = Vec::with_capacity(IHDR_BYTES as usize);
    header.extend_from_slice(&width.to_be_bytes());
    header.extend_from_slice(&height.to_be_bytes());
    // 8 bits a sample; deflate, adaptive filters, not interlaced: the only ones there are, or 0.
    header.extend_from_slice(&[8, channels.color_type(), 0, 0, 0]);
    chunk(&mut png, b"IHDR", &header);
    chunk(&mut png, b"IDAT", &zlib(&filtered, zlib_len as usize));
    chunk(&mut png, b"IEND", &[]);
    Ok(png)
}

fn chunk(png: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    png.extend_from_slice(&(data.len() as u32).to_be_bytes());
    png.extend_from_slice(name);
    png.extend_from_slice(data);
    let mut crc = Crc::new();
    crc.update(name);
    crc.update(data);
    png.extend_from_slice(&crc.sum().to_be_bytes());
}

/// A zlib stream of stored blocks.
fn zlib(bytes: &[u8], len_bytes: usize) -> Vec<u8> {
    let mut stream = Vec::with_capacity(len_bytes);
    stream.extend_from_slice(&ZLIB_HEADER);
    let mut blocks = bytes.chunks(BLOCK_BYTES_MAX as usize).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        stream.push(u8::from(blocks.peek().is_none()));
        stream.extend_from_slice(&length.to_le_bytes());
        stream.extend_from_slice(&(!length).to_le_bytes());
        stream.extend_from_slice(block);
    }
    stream.extend_from_slice(&adler32(bytes).to_be_bytes());
    stream
}

/// Adler-32 (RFC 1950 8.2).
fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65521;
    /// The most bytes after which neither sum has left 32 bits.
    const RUN: usize = 5552;
    let (mut a, mut b) = (1_u32, 0_u32);
    for run in bytes.chunks(RUN) {
        for byte in run {
            a += u32::from(*byte);
            b += a;
        }
        a %= MODULUS;
        b %= MODULUS;
    }
    (b << 16) | a
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Chunks of a PNG with their CRCs checked.
    fn chunks(png: &[u8]) -> Vec<(&[u8], &[u8])> {
        let mut rest = png.strip_prefix(SIGNATURE).unwrap();
        let mut found = Vec::new();
        while !rest.is_empty() {
            let len = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let mut crc = Crc::new();
            crc.update(&rest[4..8 + len]);
            assert_eq!(rest[8 + len..12 + len], crc.sum().to_be_bytes());
            found.push((&rest[4..8], &rest[8..8 + len]));
            rest = &rest[12 + len..];
        }
        found
    }

    #[test]
    fn the_length_is_the_law_and_an_inflater_gives_the_samples_back() {
        for (width, height, channels) in [
            (1, 1, Channels::Grey),
            (1, 1, Channels::Rgb),
            (7, 3, Channels::Rgb),
            // One block exactly, one byte more, one byte less.
            (65534, 1, Channels::Grey),
            (65535, 1, Channels::Grey),
            (65533, 1, Channels::Grey),
            (1, 32768, Channels::Grey),
            (1536, 512, Channels::Grey),
            (700, 300, Channels::Rgb),
        ] {
            let count = width as usize * height as usize * channels.count();
            let samples: Vec<u8> = (0..count).map(|n| (n * 7 + n / 251) as u8).collect();
            let png = encode(width, height, channels, &samples).unwrap();
            assert_eq!(png.len() as u64, len_bytes(width, height, channels));
            let chunks = chunks(&png);
            let names: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.0).collect();
            assert_eq!(names, [&b"IHDR"[..], b"IDAT", b"IEND"]);
            let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
            let color = if channels == Channels::Grey { 0 } else { 2 };
            header.extend([8, color, 0, 0, 0]);
            assert_eq!(chunks[0].1, header);
            // Checks the Adler-32 as well.
            let mut filtered = Vec::new();
            let mut inflater = flate2::read::ZlibDecoder::new(chunks[1].1);
            inflater.read_to_end(&mut filtered).unwrap();
            let rows = filtered.chunks(width as usize * channels.count() + 1);
            assert_eq!(rows.len(), height as usize);
            let back: Vec<u8> = rows.flat_map(|row| row[1..].to_vec()).collect();
            assert_eq!(back, samples);
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let dimensions = |width, height| Err(Error::Dimensions { width, height });
        for (width, height, channels, samples, expected) in [
            (0, 1, Channels::Grey, 0, dimensions(0, 1)),
            (1, 0, Channels::Grey, 0, dimensions(1, 0)),
            (1 << 31, 1, Channels::Grey, 0, dimensions(1 << 31, 1)),
            (
                u32::MAX,
                u32::MAX,
                Channels::Rgb,
                0,
                dimensions(u32::MAX, u32::MAX),
            ),
            (40_000, 40_000, Channels::Rgb, 0, dimensions(40_000, 40_000)),
            (
                2,
                2,
                Channels::Grey,
                3,
                Err(Error::Samples {
                    expected: 4,
                    got: 3,
                }),
            ),
            (
                2,
                2,
                Channels::Rgb,
                13,
                Err(Error::Samples {
                    expected: 12,
                    got: 13,
                }),
            ),
        ] {
            let got = encode(width, height, channels, &vec![0; samples]);
            assert_eq!(got, expected, "{width} x {height}");
        }
        assert_eq!(len_bytes(u32::MAX, u32::MAX, Channels::Rgb), u64::MAX);
        assert_eq!(
            len_bytes(1, 1, Channels::Grey),
            8 + 25 + 12 + 2 + 5 + 2 + 4 + 12
        );
    }
}
