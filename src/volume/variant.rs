//! Sizes and shapes of a volume's arrays, one set a variant. Pure arithmetic.

use super::{Dtype, Transform, Volume};

/// Which array of a volume (DESIGN 1.3). Casts will be further variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variant {
    /// `volume.<format>`: what the value rule yields.
    Values,
    /// `volume.stored.<format>`: stored values as the decoder gives them.
    Stored,
}

impl Variant {
    /// All variants.
    pub const ALL: [Variant; 2] = [Variant::Values, Variant::Stored];
}

impl Volume {
    /// Element type of a variant.
    pub fn dtype(&self, variant: Variant) -> Dtype {
        match variant {
            Variant::Values => self.values.dtype,
            Variant::Stored => self.stored_dtype,
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

    /// Bytes of one frame of a variant. [`super::build`] keeps it within
    /// [`FRAME_BYTES_MAX`].
    pub fn frame_len_bytes(&self, variant: Variant) -> u64 {
        self.frame_shape(variant)
            .iter()
            .product::<u64>()
            .saturating_mul(self.dtype(variant).itemsize() as u64)
    }

    /// Bytes of all frames of a variant, without any header. [`super::build`] keeps it within
    /// [`VOLUME_BYTES_MAX`].
    pub fn len_bytes(&self, variant: Variant) -> u64 {
        self.frame_len_bytes(variant)
            .saturating_mul(self.frames.len() as u64)
    }

    /// Whether both variants are the same bytes, so that they can share a slab.
    pub fn stored_is_values(&self) -> bool {
        self.values.transform == Transform::Identity
    }
}

/// Largest frame, decoded: 1 GiB, the most that `decode` takes. The largest real ones (digital
/// pathology regions, tomosynthesis) are below a tenth of it, and codecs count in 32 bits.
pub const FRAME_BYTES_MAX: u64 = 1 << 30;

/// Largest volume: 1 TiB.
pub const VOLUME_BYTES_MAX: u64 = 1 << 40;
