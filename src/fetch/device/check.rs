//! A device's frame compared with the CPU's. Pure: bytes in, a verdict out.

use crate::decode::gpu::{Job, Show};
use crate::decode::values::stored_dtype;
use crate::volume::Dtype;

/// By how many steps of the stored values two decoders of a lossy codec may differ: they compute the
/// same real numbers in floats of their own order, and round them once.
const LOSSY_STEPS: f64 = 1.0;

/// Room for the rounding of values that are shown as floats, relative to the step.
const ROUNDING: f64 = 1e-3;

/// dtype of the values that a job asks for; `None` where there is none for its samples.
pub(in crate::fetch) fn dtype(job: &Job) -> Option<Dtype> {
    match job.show {
        Show::Stored => stored_dtype(&job.image),
        Show::Offset { dtype, .. } | Show::Linear { dtype, .. } => Some(dtype),
    }
}

/// True when all samples have the same bytes: what memory that nobody wrote to looks like, also
/// after a rescale.
pub(in crate::fetch) fn is_uniform(bytes: &[u8], itemsize: usize) -> bool {
    match bytes.split_at_checked(itemsize) {
        // Each sample equals the one before it.
        Some((_, rest)) => *rest == bytes[..rest.len()],
        None => true,
    }
}

/// Whether a device's bytes are what the CPU made: the same, or of a lossy codec within
/// [`LOSSY_STEPS`].
pub(super) fn agree(job: &Job, is_lossy: bool, device: &[u8], cpu: &[u8]) -> bool {
    device == cpu || is_lossy && device.len() == cpu.len() && is_near(job, device, cpu)
}

fn is_near(job: &Job, device: &[u8], cpu: &[u8]) -> bool {
    let step = match job.show {
        Show::Linear { slope, .. } => slope.abs() * (1.0 + ROUNDING),
        _ => 1.0,
    };
    macro_rules! near {
        ($kind:ty) => {{
            const SIZE: usize = size_of::<$kind>();
            let values = |bytes: &[u8]| {
                let mut word = [0; SIZE];
                word.copy_from_slice(bytes);
                <$kind>::from_le_bytes(word) as f64
            };
            let mut pairs = device.chunks_exact(SIZE).zip(cpu.chunks_exact(SIZE));
            device.len().is_multiple_of(SIZE)
                && pairs.all(|(a, b)| a == b || (values(a) - values(b)).abs() <= LOSSY_STEPS * step)
        }};
    }
    match dtype(job) {
        Some(Dtype::U8) => near!(u8),
        Some(Dtype::I8) => near!(i8),
        Some(Dtype::U16) => near!(u16),
        Some(Dtype::I16) => near!(i16),
        Some(Dtype::U32) => near!(u32),
        Some(Dtype::I32) => near!(i32),
        Some(Dtype::F32) => near!(f32),
        Some(Dtype::F64) => near!(f64),
        // No lossy codec has samples of these.
        Some(Dtype::U64 | Dtype::I64 | Dtype::F16) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::cpu::tests::gray;
    use crate::decode::gpu::Codec;

    fn job(show: Show) -> Job {
        Job {
            codec: Codec::Jpeg2000,
            image: gray(1, 2, 16),
            show,
            encoded: 0..0,
            out: 0..0,
        }
    }

    #[test]
    fn one_value_everywhere_is_uniform() {
        for (bytes, itemsize, expected) in [
            (&[0, 0, 0, 0][..], 2, true),
            (&[1, 2, 1, 2, 1, 2], 2, true),
            (&[1, 2, 1, 2, 1, 3], 2, false),
            (&[1, 2, 1, 2], 1, false),
            (&[7], 1, true),
            (&[], 2, true),
            (&[9, 0, 0, 0, 0, 0], 2, false),
        ] {
            assert_eq!(is_uniform(bytes, itemsize), expected, "{bytes:?}");
        }
    }

    #[test]
    fn exact_is_exact_and_lossy_is_within_a_step() {
        let u16s = |values: [u16; 2]| values.map(u16::to_le_bytes).concat();
        let stored = job(Show::Stored);
        for (cpu, lossless, lossy) in [
            ([100, 200], true, true),
            ([101, 199], false, true),
            ([102, 200], false, false),
            ([0, 65535], false, false),
        ] {
            let (device, cpu) = (u16s([100, 200]), u16s(cpu));
            assert_eq!(agree(&stored, false, &device, &cpu), lossless, "{cpu:?}");
            assert_eq!(agree(&stored, true, &device, &cpu), lossy, "{cpu:?}");
        }
        assert!(!agree(&stored, true, &u16s([1, 1]), &[1, 0]), "lengths");
    }

    #[test]
    fn a_step_is_one_of_the_stored_values() {
        let f32s = |values: [f32; 2]| values.map(f32::to_le_bytes).concat();
        let linear = job(Show::Linear {
            slope: -0.1,
            intercept: 1000.0,
            dtype: Dtype::F32,
        });
        let device = f32s([1000.1, 990.0]);
        assert!(agree(&linear, true, &device, &f32s([1000.0, 990.1])));
        assert!(!agree(&linear, true, &device, &f32s([1000.0, 990.2])));
        assert!(!agree(&linear, true, &device, &f32s([f32::NAN, 990.0])));
        assert!(!agree(&linear, false, &device, &f32s([1000.0, 990.1])));
        let offset = job(Show::Offset {
            intercept: -1024,
            dtype: Dtype::I16,
        });
        let i16s = |values: [i16; 2]| values.map(i16::to_le_bytes).concat();
        assert!(agree(&offset, true, &i16s([-1024, 0]), &i16s([-1023, -1])));
        assert!(!agree(&offset, true, &i16s([-1024, 0]), &i16s([-1022, 0])));
    }
}
