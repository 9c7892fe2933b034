//! `volume.cuda.json`: how another program maps a volume in device memory, and what lies there.
//!
//! As long as a page whatever it says, so that `stat` is final before any device is asked: spaces stand
//! before the line feed that ends it.

use serde::Serialize;

use super::Error;
use crate::volume::{Variant, Volume};

/// Length of the file.
pub const LEN_BYTES: usize = 4096;

/// Version of the layout of the document.
const FORMAT: u32 = 1;

/// The device that has the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Device<'a> {
    /// Its number, as the driver counts.
    pub ordinal: u32,
    /// `GPU-` and a UUID, as nvidia-smi writes it: the number may be another one in another process.
    pub uuid: &'a str,
}

/// How the memory is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Handle<'a> {
    /// A file descriptor for `cuMemImportFromShareableHandle`.
    PosixFd {
        /// The unix socket that gives it.
        socket: &'a str,
        /// What to say there, with a line feed.
        token: &'a str,
        /// How much to map, bytes.
        allocation_bytes: u64,
    },
    /// A handle for `cuIpcOpenMemHandle`.
    CudaIpc {
        /// Its 64 bytes, in hexadecimal digits.
        hex: &'a str,
    },
}

#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    name: &'a str,
    series_instance_uid: &'a str,
    device: Device<'a>,
    shape: &'a [u64],
    axes: &'a str,
    /// As NumPy writes it, and so `typestr` of `__cuda_array_interface__` too.
    dtype: &'static str,
    typestr: &'static str,
    strides_bytes: Vec<u64>,
    bytes: u64,
    offset_bytes: u64,
    handle: Handle<'a>,
}

/// The file: [`LEN_BYTES`] bytes.
///
/// # Errors
///
/// [`Error::HeaderTooLong`] where they do not suffice.
pub fn json(
    volume: &Volume,
    variant: Variant,
    device: Device<'_>,
    handle: Handle<'_>,
) -> Result<Vec<u8>, Error> {
    let shape = volume.shape(variant);
    let dtype = volume.dtype(variant);
    let uid = volume.records.first();
    let uid = uid.map_or("", |record| &*record.instance.series_instance_uid);
    let document = Document {
        format: FORMAT,
        name: &volume.name,
        series_instance_uid: uid,
        device,
        shape,
        axes: volume.axes(variant),
        dtype: dtype.descr(),
        typestr: dtype.descr(),
        strides_bytes: strides_bytes(shape, dtype.itemsize() as u64),
        bytes: volume.len_bytes(variant),
        offset_bytes: 0,
        handle,
    };
    let mut text = serde_json::to_vec(&document).map_err(|why| Error::Text {
        format: "cuda.json",
        why: why.to_string(),
    })?;
    if text.len() + 1 > LEN_BYTES {
        return Err(Error::HeaderTooLong {
            format: "cuda.json",
            shape: shape.to_vec(),
            limit_bytes: LEN_BYTES,
        });
    }
    text.resize(LEN_BYTES - 1, b' ');
    text.push(b'\n');
    Ok(text)
}

/// Bytes from one entry of each axis to the next, in C order.
fn strides_bytes(shape: &[u64], itemsize: u64) -> Vec<u64> {
    let mut strides = vec![itemsize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::format::preview::tests::volume;
    use crate::volume::Dtype;

    const DEVICE: Device<'static> = Device {
        ordinal: 63,
        uuid: "GPU-12345678-1234-1234-1234-123456789abc",
    };

    fn parse(text: &[u8]) -> Value {
        assert_eq!((text.len(), text[LEN_BYTES - 1]), (LEN_BYTES, b'\n'));
        serde_json::from_slice(text).unwrap()
    }

    #[test]
    fn it_says_what_lies_there_and_how_to_map_it() {
        let mut volume = volume("zyx", &[3, 5, 7], Dtype::I16, None);
        let mut record = (*volume.records[0]).clone();
        record.instance.series_instance_uid = "1.2.3".into();
        volume.records = vec![record.into()];
        let handle = Handle::PosixFd {
            socket: "/run/dicomfs/m-x/0",
            token: "ab",
            allocation_bytes: 2 << 20,
        };
        let document = parse(&json(&volume, Variant::Values, DEVICE, handle).unwrap());
        let expected = serde_json::json!({
            "format": 1,
            "name": "1.2.3",
            "series_instance_uid": "1.2.3",
            "device": {"ordinal": 63, "uuid": DEVICE.uuid},
            "shape": [3, 5, 7],
            "axes": "zyx",
            "dtype": "<i2",
            "typestr": "<i2",
            "strides_bytes": [70, 14, 2],
            "bytes": 210,
            "offset_bytes": 0,
            "handle": {
                "kind": "posix_fd",
                "socket": "/run/dicomfs/m-x/0",
                "token": "ab",
                "allocation_bytes": 2 << 20,
            },
        });
        assert_eq!(document, expected);
        let handle = Handle::CudaIpc { hex: "00ff" };
        let cast = Variant::Cast(Dtype::F32);
        let document = parse(&json(&volume, cast, DEVICE, handle).unwrap());
        assert_eq!(document["handle"]["kind"], "cuda_ipc");
        assert_eq!(document["strides_bytes"], serde_json::json!([140, 28, 4]));
        assert_eq!(
            (&document["dtype"], &document["bytes"]),
            (&"<f4".into(), &420.into())
        );
    }

    #[test]
    fn the_longest_there_is_fits_and_what_does_not_is_an_error() {
        // 64 characters are the longest UID (PS3.5 9.1), 255 bytes the longest name; all axes at once.
        let shape = [u32::MAX.into(), 1, 65535, 65535, 3];
        let mut volume = volume("tzyxc", &[1, 1, 1, 1, 3], Dtype::F64, None);
        volume.shape = shape.to_vec();
        volume.name = "9".repeat(255);
        let mut record = (*volume.records[0]).clone();
        record.instance.series_instance_uid = "1".repeat(64);
        volume.records = vec![record.clone().into()];
        // The longest path of a unix socket is 107 bytes.
        let (socket, token) = ("\u{1}".repeat(107), "f".repeat(48));
        let handle = Handle::PosixFd {
            socket: &socket,
            token: &token,
            allocation_bytes: u64::MAX,
        };
        let text = json(&volume, Variant::Values, DEVICE, handle).unwrap();
        assert_eq!(parse(&text)["shape"], serde_json::json!(shape));
        record.instance.series_instance_uid = "\u{1}".repeat(600);
        volume.records = vec![record.into()];
        let refused = json(&volume, Variant::Values, DEVICE, handle);
        assert!(matches!(refused, Err(Error::HeaderTooLong { .. })));
    }
}
