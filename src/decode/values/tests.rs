//! Value rules, one table each.

use super::*;
use crate::decode::cpu::tests::gray;
use crate::dicom::{ModalityLut, PaletteLut, Photometric};
use crate::volume::ValueKind;

fn values(transform: Transform, dtype: Dtype) -> Values {
    Values {
        dtype,
        transform,
        units: None,
        kind: ValueKind::Modality,
    }
}

fn bytes<T: Element>(items: &[T]) -> Vec<u8> {
    let mut out = vec![0; items.len() * T::LEN];
    for (to, &item) in out.chunks_exact_mut(T::LEN).zip(items) {
        item.write(to);
    }
    out
}

fn shown<T: Element>(
    rule: Values,
    frame: (f64, f64),
    image: &ImagePixel,
    luts: &Luts,
    stored: &[u8],
) -> Result<Vec<T>, ValueError> {
    let factor = if rule.transform == Transform::Palette {
        3
    } else {
        1
    };
    let count = stored.len() / image.sample_len_bytes() * factor;
    let mut out = vec![0xAA; count * T::LEN];
    apply(&rule, frame, image, luts, stored, &mut out)?;
    Ok(out.chunks_exact(T::LEN).map(T::read).collect())
}

fn signed(bits: u16) -> ImagePixel {
    ImagePixel {
        signed: true,
        ..gray(1, 3, bits)
    }
}

#[test]
fn identity_copies_and_never_converts() {
    let none = Luts::default();
    let stored = bytes::<i16>(&[-5, 0, 5]);
    let same = values(Transform::Identity, Dtype::I16);
    assert_eq!(
        shown::<i16>(same, (1.0, 0.0), &signed(16), &none, &stored),
        Ok(vec![-5, 0, 5])
    );
    let other = values(Transform::Identity, Dtype::U16);
    assert!(shown::<u16>(other, (1.0, 0.0), &signed(16), &none, &stored).is_err());
}

#[test]
fn offset_is_exact_or_refused() {
    let none = Luts::default();
    let short = || values(Transform::Offset, Dtype::I16);
    let long = || values(Transform::Offset, Dtype::I32);
    let stored = bytes::<i16>(&[-31744, 0, 32767]);
    let got = shown::<i16>(short(), (1.0, -1024.0), &signed(16), &none, &stored);
    assert_eq!(got, Ok(vec![-32768, -1024, 31743]));
    for intercept in [
        -1025.0,
        1.0,
        70_000.0,
        -((1u64 << 40) as f64),
        (1u64 << 32) as f64,
    ] {
        let got = shown::<i16>(short(), (1.0, intercept), &signed(16), &none, &stored);
        assert_eq!(got, Err(ValueError::Overflow(Dtype::I16)), "{intercept}");
        assert!(got.unwrap_err().to_string().contains("volume.i32.npy"));
    }
    let got = shown::<i32>(long(), (1.0, -1025.0), &signed(16), &none, &stored);
    assert_eq!(got, Ok(vec![-32769, -1025, 31742]));
    let unsigned = bytes::<u16>(&[0, 33791, 33792]);
    let got = shown::<i16>(short(), (1.0, -1024.0), &gray(1, 3, 16), &none, &unsigned);
    assert_eq!(got, Err(ValueError::Overflow(Dtype::I16)));
    let got = shown::<i16>(short(), (1.0, -1025.0), &gray(1, 3, 16), &none, &unsigned);
    assert_eq!(got, Ok(vec![-1025, 32766, 32767]));
    let wide = bytes::<u32>(&[0, 1 << 31, u32::MAX]);
    let got = shown::<i32>(long(), (1.0, -2147483648.0), &gray(1, 3, 32), &none, &wide);
    assert_eq!(got, Ok(vec![i32::MIN, 0, i32::MAX]));
    let got = shown::<i32>(long(), (1.0, 0.0), &gray(1, 3, 32), &none, &wide);
    assert_eq!(got, Err(ValueError::Overflow(Dtype::I32)));
    // The least i32 has no absolute value among them.
    let least = (1.0, -2147483648.0);
    let got = shown::<i32>(long(), least, &signed(16), &none, &stored);
    assert_eq!(got, Err(ValueError::Overflow(Dtype::I32)));
    for frame in [
        (1.0, 0.5),
        (2.0, 0.0),
        (1.0, f64::NAN),
        (1.0, 1e300),
        (1.0, f64::INFINITY),
    ] {
        let got = shown::<i16>(short(), frame, &signed(16), &none, &stored);
        assert!(matches!(got, Err(ValueError::Rescale(..))), "{frame:?}");
    }
}

/// Every 16-bit sample against intercepts around the ends of the range, by wide arithmetic.
#[test]
fn offset_of_every_16_bit_sample() {
    let none = Luts::default();
    let intercepts = [
        0, 1, -1, 32767, 32768, -32768, -32769, -65535, -65536, -65537, -1024, 65535,
    ];
    for is_signed in [false, true] {
        let image = ImagePixel {
            signed: is_signed,
            ..gray(1, 1, 16)
        };
        for intercept in intercepts {
            for word in (0..=u16::MAX).step_by(17).chain([32767, 32768, u16::MAX]) {
                let value = if is_signed {
                    i32::from(word as i16)
                } else {
                    i32::from(word)
                };
                let expected = i16::try_from(value + intercept)
                    .map(|sum| vec![sum])
                    .map_err(|_| ValueError::Overflow(Dtype::I16));
                let rule = values(Transform::Offset, Dtype::I16);
                let frame = (1.0, f64::from(intercept));
                let got = shown::<i16>(rule, frame, &image, &none, &word.to_le_bytes());
                assert_eq!(got, expected, "{value} + {intercept}");
            }
        }
    }
}

#[test]
fn linear_is_computed_in_f64_and_rounded_once() {
    let none = Luts::default();
    let (slope, intercept) = (0.1, -1000.3);
    let all: Vec<i16> = (i16::MIN..=i16::MAX).step_by(37).collect();
    let image = ImagePixel {
        signed: true,
        ..gray(1, all.len() as u32, 16)
    };
    let rule = values(Transform::Linear, Dtype::F32);
    let got = shown::<f32>(rule, (slope, intercept), &image, &none, &bytes(&all)).unwrap();
    for (&stored, shown) in all.iter().zip(got) {
        assert_eq!(shown, (f64::from(stored) * slope + intercept) as f32);
    }
    let rule = values(Transform::Linear, Dtype::F64);
    let stored = bytes::<u32>(&[4_294_967_295, 1]);
    let got = shown::<f64>(rule, (0.5, 0.25), &gray(1, 2, 32), &none, &stored);
    assert_eq!(got, Ok(vec![2_147_483_647.75, 0.75]));
    let rule = values(Transform::Linear, Dtype::F32);
    let got = shown::<f32>(rule, (f64::NAN, 0.0), &gray(1, 2, 32), &none, &stored);
    assert!(got.is_err());
    let rule = values(Transform::Linear, Dtype::I16);
    assert!(shown::<i16>(rule, (0.5, 0.0), &gray(1, 2, 32), &none, &stored).is_err());
}

#[test]
fn modality_lut_clamps_at_both_ends() {
    let lut = ModalityLut {
        first_mapped: -2,
        entries: vec![10, 20, 40000],
        bits: 16,
    };
    let luts = Luts {
        modality: Some(lut),
        palette: None,
    };
    let stored = bytes::<i16>(&[-300, -2, -1, 0, 1, 300]);
    let image = ImagePixel {
        signed: true,
        ..gray(1, 6, 16)
    };
    let rule = || values(Transform::ModalityLut, Dtype::U16);
    let got = shown::<u16>(rule(), (1.0, 0.0), &image, &luts, &stored);
    assert_eq!(got, Ok(vec![10, 10, 20, 40000, 40000, 40000]));
    let narrow = values(Transform::ModalityLut, Dtype::I16);
    let got = shown::<i16>(narrow, (1.0, 0.0), &image, &luts, &stored);
    assert!(matches!(got, Err(ValueError::LutRange(_))));
    for luts in [
        Luts::default(),
        Luts {
            modality: Some(ModalityLut {
                first_mapped: 0,
                entries: vec![],
                bits: 16,
            }),
            ..Luts::default()
        },
    ] {
        let got = shown::<u16>(rule(), (1.0, 0.0), &image, &luts, &stored);
        assert!(matches!(got, Err(ValueError::MissingLut(_))));
    }
}

#[test]
fn palette_gives_interleaved_rgb() {
    let lut = |bits, big: u16| PaletteLut {
        first_mapped: 1,
        entries: [vec![1, 2], vec![3, 4], vec![5, big]],
        bits,
    };
    let image = ImagePixel {
        photometric: Photometric::PaletteColor,
        ..gray(1, 3, 8)
    };
    let eight = Luts {
        palette: Some(lut(8, 6)),
        modality: None,
    };
    let sixteen = Luts {
        palette: Some(lut(16, 600)),
        modality: None,
    };
    let narrow = || values(Transform::Palette, Dtype::U8);
    let wide = || values(Transform::Palette, Dtype::U16);
    let frame = (1.0, 0.0);
    let got = shown::<u8>(narrow(), frame, &image, &eight, &[0, 1, 2]);
    assert_eq!(got, Ok(vec![1, 3, 5, 1, 3, 5, 2, 4, 6]));
    let got = shown::<u16>(wide(), frame, &image, &sixteen, &[9, 1, 2]);
    assert_eq!(got, Ok(vec![2, 4, 600, 1, 3, 5, 2, 4, 600]));
    let got = shown::<u8>(narrow(), frame, &image, &sixteen, &[0]);
    assert!(matches!(got, Err(ValueError::LutRange(_))));
    let empty = PaletteLut {
        first_mapped: 0,
        entries: [vec![], vec![], vec![]],
        bits: 8,
    };
    let uneven = PaletteLut {
        first_mapped: 0,
        entries: [vec![1], vec![], vec![1]],
        bits: 8,
    };
    for palette in [None, Some(empty), Some(uneven)] {
        let luts = Luts {
            palette,
            modality: None,
        };
        let got = shown::<u8>(narrow(), frame, &image, &luts, &[0]);
        assert!(matches!(got, Err(ValueError::MissingLut(_))));
    }
}

#[test]
fn lengths_must_agree() {
    let image = gray(1, 2, 16);
    let rule = values(Transform::Linear, Dtype::F32);
    let none = Luts::default();
    let run = |stored: &[u8], len: usize| {
        apply(&rule, (1.0, 0.0), &image, &none, stored, &mut vec![0; len])
    };
    assert_eq!(run(&[0; 4], 8), Ok(()));
    for (stored_len, out_len) in [(3, 8), (5, 8), (4, 4), (4, 12)] {
        let got = run(&vec![0; stored_len], out_len);
        assert!(
            matches!(got, Err(ValueError::Length { .. })),
            "{stored_len} {out_len}"
        );
    }
    let ybr = values(Transform::YbrFullToRgb, Dtype::U8);
    let got = apply(
        &ybr,
        (1.0, 0.0),
        &gray(1, 4, 8),
        &none,
        &[0; 4],
        &mut [0; 4],
    );
    assert!(matches!(got, Err(ValueError::Length { .. })));
}
