//! Layouts and pictures of small volumes made in code, and the pixels they must have.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use super::picture::Error;
use super::*;
use crate::archive::{Record, SourceIdentity};
use crate::dicom::{Attributes, FrameAttributes, Instance, Photometric, Segment, Value};
use crate::format::tests::grey;
use crate::volume::{Dtype, Frame, Geometry, Status, StoredFrame, Transform, ValueKind, Values};

/// A volume of this kind with its frames in one file.
pub(crate) fn volume(
    axes: &str,
    shape: &[u64],
    dtype: Dtype,
    spacing_mm: Option<[f64; 3]>,
) -> Volume {
    let record = Record {
        path: PathBuf::from("a"),
        inside: None,
        identity: SourceIdentity {
            size_bytes: 0,
            mtime_ns: 0,
            inode: 0,
        },
        instance: Instance {
            image: Some(grey(1, 1, 16)),
            ..Instance::default()
        },
    };
    let leading = axes.find('y').unwrap();
    let frame = |frame_index: u64| Frame {
        stored: Some(StoredFrame {
            record: 0,
            frame_index: frame_index as u32,
            tile: None,
        }),
        position_lps_mm: None,
        slope: 1.0,
        intercept: 0.0,
    };
    Volume {
        name: "1.2.3".to_owned(),
        records: vec![Arc::new(record)],
        frames: (0..shape[..leading].iter().product()).map(frame).collect(),
        shape: shape.to_vec(),
        axes: axes.to_owned(),
        values: Values {
            dtype,
            transform: Transform::Identity,
            units: None,
            kind: ValueKind::Modality,
        },
        stored_dtype: dtype,
        geometry: spacing_mm.map(|spacing_mm| Geometry {
            affine_lps: [[0.0; 4]; 4],
            spacing_mm,
        }),
        steps: None,
        slice_times_s: Vec::new(),
        segments: Vec::new(),
        status: Status::Ok,
        findings: Vec::new(),
        fingerprint: [0; 32],
        deid_days: None,
    }
}

fn record(volume: &mut Volume) -> &mut Instance {
    &mut Arc::get_mut(&mut volume.records[0]).unwrap().instance
}

/// The picture of a volume whose frame `n` is `frames(n)`: rows of bytes.
fn picture(volume: Volume, frames: impl Fn(usize) -> Vec<u8>) -> Vec<Vec<u8>> {
    let mut picture = Picture::new(&Arc::new(volume));
    let layout = picture.layout().clone();
    // Any order will do.
    for frame in layout.frames().iter().rev() {
        picture.add(*frame, &frames(*frame)).unwrap();
    }
    let png = picture.png().unwrap();
    assert_eq!(png.len() as u64, layout.len_bytes());
    let idat = 8 + 25 + 8;
    let mut rows = Vec::new();
    let mut inflater = flate2::read::ZlibDecoder::new(&png[idat..]);
    inflater.read_to_end(&mut rows).unwrap();
    let row = layout.width() as usize * layout.channels().count() + 1;
    rows.chunks(row).map(|row| row[1..].to_vec()).collect()
}

fn u16s(values: impl IntoIterator<Item = u16>) -> Vec<u8> {
    values.into_iter().flat_map(u16::to_le_bytes).collect()
}

#[test]
fn layouts_follow_from_headers() {
    type Case<'a> = (&'a str, &'a [u64], Option<[f64; 3]>, [u32; 2], Vec<usize>);
    let u16 = Dtype::U16;
    let slabs = (0..512).map(|n| 3 * n + 1);
    let mid_and_slabs = [768].into_iter().chain(slabs).collect::<BTreeSet<_>>();
    let cases: [Case<'_>; 15] = [
        ("zyx", &[3, 4, 6], None, [6 + 6 + 4, 4], vec![0, 1, 2]),
        (
            "zyx",
            &[3, 4, 6],
            Some([2.0, 1.0, 1.0]),
            [16, 6],
            vec![0, 1, 2],
        ),
        (
            "zyx",
            &[3, 4, 6],
            Some([1.0, 2.0, 1.0]),
            [6 + 6 + 8, 8],
            vec![0, 1, 2],
        ),
        (
            "zyx",
            &[3, 4, 6],
            Some([f64::NAN, 2.0, 1.0]),
            [16, 4],
            vec![0, 1, 2],
        ),
        // Longer than a panel: no more frames than are drawn, and the mid plane itself.
        (
            "zyx",
            &[1024, 8, 8],
            None,
            [4 + 4 + 4, 512],
            (0..512).map(|n| 2 * n).collect(),
        ),
        (
            "zyx",
            &[1536, 8, 8],
            None,
            [3 + 3 + 3, 512],
            mid_and_slabs.into_iter().collect(),
        ),
        (
            "zyx",
            &[2, 1024, 2048],
            None,
            [512 + 512 + 256, 256],
            vec![0, 1],
        ),
        (
            "zyx",
            &[2, 2, 2],
            Some([1e5, 1e-6, 1e-6]),
            [3, 512],
            vec![0, 1],
        ),
        // The first entry of a leading axis.
        ("tzyx", &[5, 3, 4, 6], None, [16, 4], vec![0, 1, 2]),
        ("szyx", &[2, 3, 4, 6], None, [16, 4], vec![0, 1, 2]),
        ("tzyx", &[5, 1, 4, 6], None, [6, 4], vec![0]),
        ("zyx", &[1, 4, 6], Some([9.0, 2.0, 1.0]), [6, 8], vec![0]),
        ("fyx", &[9, 4, 6], None, [6, 4], vec![4]),
        ("fyx", &[1, 1, 5000], None, [512, 1], vec![0]),
        ("zyxc", &[3, 4, 6, 3], None, [16, 4], vec![0, 1, 2]),
    ];
    for (axes, shape, spacing, size, frames) in cases {
        let layout = Layout::of(&volume(axes, shape, u16, spacing));
        assert_eq!([layout.width(), layout.height()], size, "{axes} {shape:?}");
        let asked: Vec<usize> = layout.frames().into_iter().collect();
        assert_eq!(asked, frames, "{axes} {shape:?}");
        let is_rgb = layout.channels() == Channels::Rgb;
        assert_eq!(is_rgb, axes.ends_with('c'));
        assert!(layout.width() <= 3 * 512 && layout.height() <= 512);
    }
}

#[test]
fn pixel_spacing_is_used_where_there_is_no_geometry() {
    let spacing = |spacing| FrameAttributes {
        pixel_spacing: spacing,
        ..FrameAttributes::default()
    };
    for (shared, own, size) in [
        (None, None, [6, 4]),
        (Some([2.0, 1.0]), None, [6, 8]),
        (Some([2.0, 1.0]), Some([1.0, 2.0]), [12, 4]),
        (Some([2.0, 0.0]), None, [6, 4]),
    ] {
        let mut volume = volume("fyx", &[3, 4, 6], Dtype::U8, None);
        record(&mut volume).shared = spacing(shared);
        record(&mut volume).per_frame = vec![spacing(None), spacing(own), spacing(None)];
        let layout = Layout::of(&volume);
        assert_eq!(
            [layout.width(), layout.height()],
            size,
            "{shared:?} {own:?}"
        );
    }
}

#[test]
fn planes_lie_where_they_say() {
    // 100 * z + 10 * y + x, so that every value names its place.
    let frames = |z: usize| {
        (0..12)
            .map(|n| (100 * z + 10 * (n / 4) + n % 4) as u8)
            .collect()
    };
    let mut volume = volume("zyx", &[2, 3, 4], Dtype::U8, Some([2.0, 1.0, 1.0]));
    // Of a segmentation the least value shown is 2 and the greatest 123: shades go back to values,
    // that of the background to 2.
    volume.segments = vec![Segment::default()];
    let rows = picture(volume, frames);
    let back = |shade: &u8| (f64::from(*shade) * 121.0 / 255.0).round() as u8 + 2;
    let rows: Vec<Vec<u8>> = rows
        .iter()
        .map(|row| row.iter().map(back).collect())
        .collect();
    assert_eq!(
        rows,
        [
            // z = 1 | y = 1, z upward, each slice twice | x = 2, the same
            [100, 101, 102, 103, 110, 111, 112, 113, 102, 112, 122],
            [110, 111, 112, 113, 110, 111, 112, 113, 102, 112, 122],
            [120, 121, 122, 123, 10, 11, 12, 13, 2, 12, 22],
            [2, 2, 2, 2, 10, 11, 12, 13, 2, 12, 22],
        ]
    );
}

/// One slice of `values`, as one row.
fn row(dtype: Dtype, values: Vec<u8>, change: impl Fn(&mut Volume)) -> Vec<u8> {
    let count = (values.len() / dtype.itemsize()) as u64;
    let mut volume = volume("zyx", &[1, 1, count], dtype, None);
    change(&mut volume);
    picture(volume, |_| values.clone()).concat()
}

#[test]
fn windows_of_every_dtype() {
    let f32s = |v: &[f32]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let cases: Vec<(Dtype, Vec<u8>, Vec<u8>)> = vec![
        (Dtype::U8, vec![1, 3, 2], vec![0, 255, 128]),
        (Dtype::I8, vec![0xFF, 1, 0], vec![0, 255, 128]),
        (Dtype::U16, u16s([1000, 0, 500]), vec![255, 0, 128]),
        (Dtype::I16, u16s([0x8000, 0x7FFF, 0]), vec![0, 255, 128]),
        (
            Dtype::U32,
            [0_u32, u32::MAX].map(u32::to_le_bytes).concat(),
            vec![0, 255],
        ),
        (
            Dtype::I32,
            [i32::MIN, i32::MAX].map(i32::to_le_bytes).concat(),
            vec![0, 255],
        ),
        (
            Dtype::U64,
            [0, u64::MAX].map(u64::to_le_bytes).concat(),
            vec![0, 255],
        ),
        (
            Dtype::I64,
            [i64::MIN, i64::MAX].map(i64::to_le_bytes).concat(),
            vec![0, 255],
        ),
        (
            Dtype::F64,
            [-f64::MAX, f64::MAX, 0.0].map(f64::to_le_bytes).concat(),
            vec![0, 255, 128],
        ),
        (Dtype::F32, f32s(&[0.5, f32::NAN, 1.5]), vec![0, 0, 255]),
        (
            Dtype::F32,
            f32s(&[0.0, f32::INFINITY, 1.0, f32::NEG_INFINITY]),
            vec![0, 255, 255, 0],
        ),
        (Dtype::F32, f32s(&[f32::NAN, f32::NAN]), vec![0, 0]),
        // 1, 2, 1.5, the smallest subnormal, infinity.
        (
            Dtype::F16,
            u16s([0x3C00, 0x4000, 0x3E00]),
            vec![0, 255, 128],
        ),
        (
            Dtype::F16,
            u16s([0x0000, 0x0001, 0x7C00, 0x8001]),
            vec![128, 255, 255, 0],
        ),
        // One value is mid grey.
        (Dtype::U16, u16s([7, 7]), vec![128, 128]),
    ];
    for (dtype, values, expected) in cases {
        assert_eq!(row(dtype, values, |_| {}), expected, "{dtype:?}");
    }
}

#[test]
fn outliers_padding_and_inversion() {
    let ramp = || u16s((0..200).map(|n| if n == 199 { 60_000 } else { n }));
    let plain = row(Dtype::U16, ramp(), |_| {});
    assert_eq!(
        (plain[2], plain[197], plain[199]),
        (0, 255, 255),
        "1st and 99th percentile"
    );
    let segments = row(Dtype::U16, ramp(), |v| {
        v.segments = vec![Segment::default()]
    });
    assert_eq!(
        (segments[198], segments[199]),
        (1, 255),
        "least to greatest"
    );
    let class = row(Dtype::U16, ramp(), |v| {
        record(v).sop_class_uid = "1.2.840.10008.5.1.4.1.1.66.4".into();
    });
    assert_eq!(class, segments);
    let inverted = row(Dtype::U16, ramp(), |v| {
        record(v).image.as_mut().unwrap().photometric = Photometric::Monochrome1;
    });
    assert!(plain.iter().zip(&inverted).all(|(a, b)| a + b == 255));
    // Where the percentiles are one value, the rest is still seen.
    let sparse = row(
        Dtype::U16,
        u16s((0..200).map(|n| u16::from(n == 5))),
        |_| {},
    );
    assert_eq!((sparse[4], sparse[5]), (0, 255));
    for (transform, slope, intercept, values) in [
        (Transform::Identity, 1.0, 0.0, [100.0, 7.0, 300.0]),
        (Transform::Offset, 1.0, -50.0, [100.0, -43.0, 300.0]),
        (Transform::Linear, 0.1, 0.3, [100.0, 7.0 * 0.1 + 0.3, 300.0]),
    ] {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|v| (*v as f32).to_le_bytes())
            .collect();
        let got = row(Dtype::F32, bytes, |v| {
            v.values.transform = transform;
            v.frames[0].slope = slope;
            v.frames[0].intercept = intercept;
            let mut attributes = Attributes::default();
            attributes
                .insert("PixelPaddingValue", &Value::Int(7))
                .unwrap();
            record(v).attributes = attributes;
        });
        assert_eq!(got, [0, 0, 255], "{transform:?}");
    }
}

#[test]
fn colour_is_shown_as_it_is() {
    type Case = (Dtype, Transform, u16, Vec<u8>, [u8; 3]);
    let cases: [Case; 4] = [
        (
            Dtype::U8,
            Transform::Identity,
            8,
            vec![9, 8, 255],
            [9, 8, 255],
        ),
        (
            Dtype::U16,
            Transform::Identity,
            16,
            u16s([0x1234, 0xFFFF, 0x00FF]),
            [0x12, 255, 0],
        ),
        (
            Dtype::U16,
            Transform::Identity,
            12,
            u16s([0x0123, 0xFFFF, 0x0FFF]),
            [0x12, 255, 255],
        ),
        (
            Dtype::U16,
            Transform::Palette,
            8,
            u16s([0x1234, 0xFFFF, 0x00FF]),
            [0x12, 255, 0],
        ),
    ];
    for (dtype, transform, bits_stored, values, expected) in cases {
        let mut volume = volume("zyxc", &[1, 1, 1, 3], dtype, None);
        volume.values.transform = transform;
        record(&mut volume).image.as_mut().unwrap().bits_stored = bits_stored;
        assert_eq!(picture(volume, |_| values.clone()).concat(), expected);
    }
    // Colour in another dtype has a window; other numbers of samples show the first.
    let wide = volume("zyxc", &[1, 1, 1, 3], Dtype::F32, None);
    let values = [0.0_f32, 1.0, 2.0].map(f32::to_le_bytes).concat();
    assert_eq!(picture(wide, |_| values.clone()).concat(), [0, 128, 255]);
    let four = volume("zyxc", &[1, 1, 2, 4], Dtype::U8, None);
    assert_eq!(
        picture(four, |_| vec![1, 9, 9, 9, 5, 9, 9, 9]).concat(),
        [0, 255]
    );
}

#[test]
fn what_is_missing_or_no_frame_is_refused() {
    let mut picture = Picture::new(&Arc::new(volume("zyx", &[3, 1, 2], Dtype::U16, None)));
    let (expected, got) = (4, 3);
    assert_eq!(
        picture.add(0, &[0; 3]),
        Err(Error::FrameLength { expected, got })
    );
    picture.add(0, &[0; 4]).unwrap();
    picture.add(0, &[0; 4]).unwrap();
    assert_eq!(picture.png(), Err(Error::Incomplete { missing: 2 }));
}
