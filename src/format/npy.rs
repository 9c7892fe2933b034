//! npy version 1.0: a header of exactly one page, then the array in C order, little endian.
//!
//! NumPy itself aligns headers to 64 bytes; a whole page keeps frames page-aligned in the slab and
//! lets other formats point into the same file with a constant offset.

use super::Error;
use crate::volume::Dtype;

/// Length of the header, the magic bytes included.
pub const HEADER_LEN_BYTES: usize = 4096;

/// Magic bytes and version 1.0.
const MAGIC: &[u8; 8] = b"\x93NUMPY\x01\x00";

/// The header of an array of this dtype and shape: 4096 bytes.
///
/// # Errors
///
/// [`Error::HeaderTooLong`] when the shape has hundreds of axes; [`Error::TooLarge`] when the array
/// does not fit 64 bits.
pub fn header(dtype: Dtype, shape: &[u64]) -> Result<Vec<u8>, Error> {
    // Nobody could read the file, so its header is refused as well.
    file_len_bytes(dtype, shape)?;
    let mut header = Vec::with_capacity(HEADER_LEN_BYTES);
    header.extend_from_slice(MAGIC);
    let dictionary_len = (HEADER_LEN_BYTES - MAGIC.len() - 2) as u16;
    header.extend_from_slice(&dictionary_len.to_le_bytes());
    let dictionary = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}",
        dtype.descr(),
        tuple(shape)
    );
    header.extend_from_slice(dictionary.as_bytes());
    if header.len() + 1 > HEADER_LEN_BYTES {
        return Err(Error::HeaderTooLong {
            format: "npy",
            shape: shape.to_vec(),
            limit_bytes: HEADER_LEN_BYTES,
        });
    }
    header.resize(HEADER_LEN_BYTES - 1, b' ');
    header.push(b'\n');
    Ok(header)
}

/// Length of the whole file, header included.
///
/// # Errors
///
/// [`Error::TooLarge`] when it does not fit 64 bits.
pub fn file_len_bytes(dtype: Dtype, shape: &[u64]) -> Result<u64, Error> {
    let elements = shape
        .iter()
        .try_fold(1_u64, |product, length| product.checked_mul(*length));
    elements
        .and_then(|count| count.checked_mul(dtype.itemsize() as u64))
        .and_then(|bytes| bytes.checked_add(HEADER_LEN_BYTES as u64))
        .ok_or_else(|| Error::TooLarge {
            shape: shape.to_vec(),
        })
}

/// A Python tuple: a single element needs its comma.
fn tuple(shape: &[u64]) -> String {
    let lengths: Vec<String> = shape.iter().map(u64::to_string).collect();
    match lengths.as_slice() {
        [only] => format!("({only},)"),
        several => format!("({})", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DTYPES: [(Dtype, &str); 11] = [
        (Dtype::U8, "|u1"),
        (Dtype::I8, "|i1"),
        (Dtype::U16, "<u2"),
        (Dtype::I16, "<i2"),
        (Dtype::U32, "<u4"),
        (Dtype::I32, "<i4"),
        (Dtype::U64, "<u8"),
        (Dtype::I64, "<i8"),
        (Dtype::F16, "<f2"),
        (Dtype::F32, "<f4"),
        (Dtype::F64, "<f8"),
    ];

    #[test]
    fn npyz_reads_every_dtype_and_rank() {
        for (dtype, descr) in DTYPES {
            for shape in [&[][..], &[5], &[2, 3], &[3, 512, 512], &[2, 3, 4, 5, 3]] {
                let header = header(dtype, shape).unwrap();
                assert_eq!(header.len(), HEADER_LEN_BYTES);
                assert_eq!(&header[..10], b"\x93NUMPY\x01\x00\xF6\x0F");
                assert_eq!(header.last(), Some(&b'\n'));
                let parsed = npyz::NpyHeader::from_reader(&header[..]).unwrap();
                assert_eq!(parsed.shape(), shape);
                assert_eq!(parsed.order(), npyz::Order::C);
                assert_eq!(parsed.dtype().descr(), format!("'{descr}'"));
            }
        }
    }

    #[test]
    fn npyz_reads_the_array_behind_the_header() {
        let mut file = header(Dtype::I16, &[2, 3]).unwrap();
        let values = [0_i16, 1, -1, 300, i16::MIN, i16::MAX];
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        assert_eq!(
            file.len() as u64,
            file_len_bytes(Dtype::I16, &[2, 3]).unwrap()
        );
        let array = npyz::NpyFile::new(&file[..]).unwrap();
        assert_eq!(array.into_vec::<i16>().unwrap(), values);
    }

    #[test]
    fn refuses_what_nobody_could_read() {
        assert_eq!(
            file_len_bytes(Dtype::F64, &[1 << 40, 1 << 24]),
            Err(Error::TooLarge {
                shape: vec![1 << 40, 1 << 24]
            })
        );
        assert!(header(Dtype::U8, &[u64::MAX]).is_err());
        let deep = vec![1; 2000];
        assert!(matches!(
            header(Dtype::U8, &deep),
            Err(Error::HeaderTooLong { format: "npy", .. })
        ));
    }
}
