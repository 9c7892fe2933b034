//! Decoders and value rules, one frame at a time.

use std::fs::File;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{BenchmarkId, Criterion, Throughput};
use dicomfs::decode::{Encoded, decode_frame, values};
use dicomfs::dicom::{FrameTable, Header, ImagePixel, Luts, read_full_at, read_header, syntax};
use dicomfs::volume::{Dtype, Transform, ValueKind, Values};

use crate::{SIDES, image, samples};

const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const RLE: &str = "1.2.840.10008.1.2.5";

/// Files of the data set by codec, the smallest frame first.
const FILES: [(&str, [&str; 3]); 5] = [
    (
        "JPEG baseline",
        [
            "single/pydicom/SC_rgb_dcmtk_+eb+cr.dcm",
            "single/pydicom/SC_rgb_jpeg_app14_dcmd.dcm",
            "single/multiframe/jpeg8bit.dcm",
        ],
    ),
    (
        "JPEG Lossless",
        [
            "volumes/mr_4slices_compressed_jpeg/dicom/IM-0001-0001-0001.dcm",
            "single/nema_wg04/CT2_JPLL",
            "single/nema_wg04/NM1_JPLL",
        ],
    ),
    (
        "JPEG-LS",
        [
            "single/pydicom/MR_small_jpeg_ls_lossless.dcm",
            "volumes/mr_4slices_compressed_jpegls/dicom/IM-0001-0001-0001.dcm",
            "single/nema_wg04/CT2_JLSL",
        ],
    ),
    (
        "JPEG-LS near-lossless",
        [
            "single/pydicom/SC_rgb_jls_lossy_line.dcm",
            "single/nema_wg04/CT2_JLSN",
            "single/nema_wg04/NM1_JLSN",
        ],
    ),
    (
        "JPEG 2000",
        [
            "single/pydicom/MR_small_jp2klossless.dcm",
            "volumes/mr_4slices_compressed_j2k/dicom/IM-0001-0001-0001.dcm",
            "single/nema_wg04/CT2_J2KR",
        ],
    ),
];

fn bytes_of(samples: &[i16], to_bytes: fn(i16) -> [u8; 2]) -> Vec<u8> {
    samples.iter().copied().flat_map(to_bytes).collect()
}

/// What a frame is called: its size and bits.
fn size_name(image: &ImagePixel) -> String {
    let color = if image.samples_per_pixel == 1 {
        ""
    } else {
        "x3"
    };
    let (rows, columns) = (image.rows, image.columns);
    format!("{rows}x{columns}x{}{color}", image.bits_allocated)
}

/// Times one decoder on one frame, by the bytes it gives.
fn decode(c: &mut Criterion, codec: &str, uid: &str, image: &ImagePixel, bytes: &[u8]) {
    let mut out = vec![0; image.frame_len_bytes().expect("it fits")];
    let mut group = c.benchmark_group(codec);
    group.throughput(Throughput::Bytes(out.len() as u64));
    group.bench_function(BenchmarkId::from_parameter(size_name(image)), |b| {
        b.iter(|| {
            let encoded = Encoded {
                bytes: black_box(bytes),
                first_bit: 0,
            };
            decode_frame(uid, image, encoded, &mut out).expect("it decodes");
        });
    });
    group.finish();
}

/// Native samples as they stand, with bits to mask and sign-extend, and with bytes to swap.
pub fn native(c: &mut Criterion) {
    let cases = [
        ("native, little endian", EXPLICIT, 16),
        ("native, 12 of 16 bits", EXPLICIT, 12),
        ("native, big endian", BIG_ENDIAN, 16),
    ];
    for (name, uid, bits) in cases {
        for side in SIDES {
            let to_bytes = match uid {
                BIG_ENDIAN => i16::to_be_bytes,
                _ => i16::to_le_bytes,
            };
            let bytes = bytes_of(&samples(side), to_bytes);
            decode(c, name, uid, &image(side, bits), &bytes);
        }
    }
}

/// Stored values to shown ones, without the decoder before them.
pub fn value_rules(c: &mut Criterion) {
    let cases = [
        ("offset to int16", Dtype::I16, Transform::Offset, 1.0),
        ("linear to float32", Dtype::F32, Transform::Linear, 1.25),
    ];
    for (name, dtype, transform, slope) in cases {
        let mut group = c.benchmark_group(format!("values, {name}"));
        let rule = Values {
            dtype,
            transform,
            units: None,
            kind: ValueKind::Modality,
        };
        for side in SIDES {
            let stored = bytes_of(&samples(side), i16::to_le_bytes);
            let (image, luts) = (image(side, 16), Luts::default());
            let mut out = vec![0; stored.len() / 2 * dtype.itemsize()];
            group.throughput(Throughput::Bytes(stored.len() as u64));
            group.bench_function(BenchmarkId::from_parameter(size_name(&image)), |b| {
                b.iter(|| {
                    let stored = black_box(&stored);
                    values::apply(&rule, (slope, -1024.0), &image, &luts, stored, &mut out)
                        .expect("it fits");
                });
            });
        }
        group.finish();
    }
}

/// One RLE frame (PS3.5 G): high bytes, then low bytes.
fn rle_frame(samples: &[i16]) -> Vec<u8> {
    let mut frame = vec![0; 64];
    frame[0] = 2;
    for (n, shift) in [8, 0].into_iter().enumerate() {
        let start = frame.len() as u32;
        frame[4 + 4 * n..8 + 4 * n].copy_from_slice(&start.to_le_bytes());
        let plane: Vec<u8> = samples.iter().map(|v| (v >> shift) as u8).collect();
        // Runs where bytes repeat, the rest as it is: what encoders write.
        let mut literal: Vec<u8> = Vec::new();
        for run in plane.chunk_by(|a, b| a == b) {
            for piece in run.chunks(128) {
                if piece.len() > 2 {
                    flush(&mut literal, &mut frame);
                    frame.extend([(257 - piece.len()) as u8, piece[0]]);
                } else {
                    literal.extend(piece);
                }
            }
        }
        flush(&mut literal, &mut frame);
        if frame.len() % 2 == 1 {
            frame.push(0x80);
        }
    }
    frame
}

fn flush(literal: &mut Vec<u8>, frame: &mut Vec<u8>) {
    for piece in literal.chunks(128) {
        frame.push((piece.len() - 1) as u8);
        frame.extend(piece);
    }
    literal.clear();
}

/// RLE Lossless.
pub fn rle(c: &mut Criterion) {
    for side in SIDES {
        let frame = rle_frame(&samples(side));
        decode(c, "RLE", RLE, &image(side, 16), &frame);
    }
}

fn data_dir() -> PathBuf {
    std::env::var_os("DICOMFS_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    )
}

/// Transfer Syntax UID, image and bytes of the first frame of a file.
fn first_frame(path: &Path) -> Result<(String, ImagePixel, Vec<u8>), String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    let file = File::open(path).map_err(|error| say(&error))?;
    let len = file.metadata().map_err(|error| say(&error))?.len();
    let header = read_header(&file, len).map_err(|error| say(&error))?;
    let Header::Instance(instance) = header else {
        return Err("a DICOMDIR".to_string());
    };
    let image = instance.image.clone().ok_or("not an image")?;
    let location = instance.pixel_data.ok_or("no pixel data")?;
    let facts = syntax::by_uid(&instance.transfer_syntax_uid).ok_or("an unknown syntax")?;
    let table = FrameTable::read(&file, len, &location, image.number_of_frames, facts.codec)
        .map_err(|error| say(&error))?;
    let mut bytes = Vec::new();
    for fragment in table.frame(0).ok_or("no frame")?.fragments {
        let start = bytes.len();
        bytes.resize(start + fragment.length_bytes as usize, 0);
        read_full_at(&file, fragment.offset_bytes, &mut bytes[start..])
            .map_err(|error| say(&error))?;
    }
    Ok((instance.transfer_syntax_uid.clone(), image, bytes))
}

/// Codecs that nothing here encodes.
pub fn from_files(c: &mut Criterion) {
    let data = data_dir();
    for (codec, files) in FILES {
        for name in files {
            match first_frame(&data.join(name)) {
                Ok((uid, image, bytes)) => decode(c, codec, &uid, &image, &bytes),
                Err(why) => eprintln!("SKIPPED {codec}, {name}: {why}"),
            }
        }
    }
}
