//! Sizes and shapes of a volume's arrays, one set a variant. Pure arithmetic.

use super::{Dtype, Transform, Volume};

/// Which array of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variant {
    /// `volume.<format>`: what the value rule yields.
    Values,
    /// `volume.stored.<format>`: stored values as the decoder gives them.
    Stored,
    /// `volume.f32.<format>` and the like: the values, cast. Asked for by name, so it rounds half
    /// to even and saturates.
    Cast(Dtype),
}

impl Variant {
    /// All variants. Their order is part of inode numbers: new ones go to the end.
    pub const ALL: [Variant; 6] = [
        Variant::Values,
        Variant::Stored,
        Variant::Cast(Dtype::F32),
        Variant::Cast(Dtype::F16),
        Variant::Cast(Dtype::I16),
        Variant::Cast(Dtype::I32),
    ];

    /// The word in the file's name: `volume.<word>.npy`; empty for the values themselves.
    pub fn word(self) -> &'static str {
        match self {
            Variant::Values => "",
            Variant::Stored => "stored",
            Variant::Cast(Dtype::F32) => "f32",
            Variant::Cast(Dtype::F16) => "f16",
            Variant::Cast(Dtype::I16) => "i16",
            Variant::Cast(Dtype::I32) => "i32",
            // Not offered: no name leads here.
            Variant::Cast(other) => other.descr(),
        }
    }
}

impl Volume {
    /// Element type of a variant.
    pub fn dtype(&self, variant: Variant) -> Dtype {
        match variant {
            Variant::Values => self.values.dtype,
            Variant::Stored => self.stored_dtype,
            Variant::Cast(dtype) => dtype,
        }
    }

    /// Axes of a variant, one letter each: stored PALETTE COLOR has no `c`.
    pub fn axes(&self, variant: Variant) -> &str {
        match (variant, self.values.transform) {
            (Variant::Stored, Transform::Palette) => self.axes.trim_end_matches('c'),
            _ => &self.axes,
        }
    }

    /// Shape of a variant, over [`Volume::axes`].
    pub fn shape(&self, variant: Variant) -> &[u64] {
        let rank = self.axes(variant).len().min(self.shape.len());
        &self.shape[..rank]
    }

    /// Shape of one frame of a variant: `y, x` or `y, x, c`.
    pub fn frame_shape(&self, variant: Variant) -> &[u64] {
        let shape = self.shape(variant);
        let leading = self.axes.find('y').unwrap_or(0).min(shape.len());
        &shape[leading..]
    }

    /// Bytes of one frame of a variant. [`fn@super::build`] keeps it within
    /// [`FRAME_BYTES_MAX`].
    pub fn frame_len_bytes(&self, variant: Variant) -> u64 {
        self.frame_shape(variant)
            .iter()
            .product::<u64>()
            .saturating_mul(self.dtype(variant).itemsize() as u64)
    }

    /// Bytes of all frames of a variant, without any header. [`fn@super::build`] keeps it within
    /// [`VOLUME_BYTES_MAX`].
    pub fn len_bytes(&self, variant: Variant) -> u64 {
        self.frame_len_bytes(variant)
            .saturating_mul(self.frames.len() as u64)
    }

    /// The variant with the same bytes that stands for all that have them, so that they share a
    /// slab: stored values without a rescale are the values, and so is a cast to their own dtype.
    pub fn same_bytes_as(&self, variant: Variant) -> Variant {
        match variant {
            Variant::Stored if self.values.transform == Transform::Identity => Variant::Values,
            // An offset that overflows makes the values fail; its cast has other bytes then.
            Variant::Cast(dtype)
                if dtype == self.values.dtype && self.values.transform != Transform::Offset =>
            {
                Variant::Values
            }
            other => other,
        }
    }
}

/// Largest frame, decoded: 1 GiB, the most that `decode` takes. The largest real ones (digital
/// pathology regions, tomosynthesis) are below a tenth of it, and codecs count in 32 bits.
pub const FRAME_BYTES_MAX: u64 = 1 << 30;

/// Largest volume: 1 TiB.
pub const VOLUME_BYTES_MAX: u64 = 1 << 40;
