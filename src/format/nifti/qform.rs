//! The affine as a rotation by a quaternion, where it is one.
//!
//! A qform has no words for shear; [`Qform::of`] gives none where it would say something else than
//! the sform.

/// How far the qform may put a corner of the volume from where the affine puts it: rounding of
/// positions to 0.01 mm and of direction cosines, which is no tilt. Readers that refuse a sform
/// with the least shear (ITK) would refuse most oblique series without it; the sform is exact.
const CORNER_TOLERANCE_MM: f64 = 0.02;

/// `quatern_b..d`, `qoffset_x..z` and `qfac` (`pixdim[0]`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Qform {
    pub(super) quatern: [f64; 3],
    pub(super) offset: [f64; 3],
    pub(super) qfac: f64,
}

impl Qform {
    /// The qform of an affine in RAS for an array of `lengths` along x, y and z; `None` where the
    /// columns are not at right angles.
    pub(super) fn of(affine_ras: &[[f64; 4]; 4], lengths: [f64; 3]) -> Option<Qform> {
        let column = |n: usize| [affine_ras[0][n], affine_ras[1][n], affine_ras[2][n]];
        let columns = [column(0), column(1), column(2)];
        let spacing = columns.map(norm);
        let [x, y, mut z] = [0, 1, 2].map(|n| columns[n].map(|value| value / spacing[n]));
        let qfac = if dot(cross(x, y), z) < 0.0 { -1.0 } else { 1.0 };
        z = z.map(|value| value * qfac);
        let quaternion = quaternion([x, y, z]);
        let back = rotation(quaternion);
        let mut off_mm = 0.0;
        for n in 0..3 {
            let sign = if n == 2 { qfac } else { 1.0 };
            let wanted = columns[n];
            let said = back[n].map(|value| value * spacing[n] * sign);
            let error = [0, 1, 2].map(|row| said[row] - wanted[row]);
            off_mm += norm(error) * (lengths[n] - 1.0).max(0.0);
        }
        // Written so that a NaN is refused.
        let is_same = off_mm <= CORNER_TOLERANCE_MM;
        let [_, b, c, d] = quaternion;
        is_same.then_some(Qform {
            quatern: [b, c, d],
            offset: column(3),
            qfac,
        })
    }
}

/// The unit quaternion (a, b, c, d), a >= 0, of a rotation given by its columns. Of the four ways to
/// get at it the one is taken that divides by the largest component.
fn quaternion([x, y, z]: [[f64; 3]; 3]) -> [f64; 4] {
    // Four times the squares of the components.
    let squares = [
        1.0 + x[0] + y[1] + z[2],
        1.0 + x[0] - y[1] - z[2],
        1.0 - x[0] + y[1] - z[2],
        1.0 - x[0] - y[1] + z[2],
    ];
    let largest = squares.iter().copied().fold(0.0, f64::max);
    let (bc, bd, cd) = (x[1] + y[0], x[2] + z[0], y[2] + z[1]);
    let (ab, ac, ad) = (y[2] - z[1], z[0] - x[2], x[1] - y[0]);
    // Each row is the quaternion times four times its largest component.
    let scaled = if largest == squares[0] {
        [squares[0], ab, ac, ad]
    } else if largest == squares[1] {
        [ab, squares[1], bc, bd]
    } else if largest == squares[2] {
        [ac, bc, squares[2], cd]
    } else {
        [ad, bd, cd, squares[3]]
    };
    let length = scaled.iter().map(|v| v * v).sum::<f64>().sqrt();
    let sign = if scaled[0] < 0.0 { -1.0 } else { 1.0 };
    // + 0.0 turns -0 into 0.
    scaled.map(|value| sign * value / length + 0.0)
}

/// The columns of the rotation that a quaternion stands for.
fn rotation([a, b, c, d]: [f64; 4]) -> [[f64; 3]; 3] {
    [
        [
            a * a + b * b - c * c - d * d,
            2.0 * (b * c + a * d),
            2.0 * (b * d - a * c),
        ],
        [
            2.0 * (b * c - a * d),
            a * a + c * c - b * b - d * d,
            2.0 * (c * d + a * b),
        ],
        [
            2.0 * (b * d + a * c),
            2.0 * (c * d - a * b),
            a * a + d * d - b * b - c * c,
        ],
    ]
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn norm(a: [f64; 3]) -> f64 {
    dot(a, a).sqrt()
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An affine of unit columns times spacings.
    fn affine(columns: [[f64; 3]; 3], spacing: [f64; 3]) -> [[f64; 4]; 4] {
        let mut affine = [[0.0, 0.0, 0.0, 7.0]; 4];
        for (n, column) in columns.iter().enumerate() {
            for row in 0..3 {
                affine[row][n] = column[row] * spacing[n];
            }
        }
        affine[3] = [0.0, 0.0, 0.0, 1.0];
        affine
    }

    #[test]
    fn quaternions_give_back_their_rotation() {
        let turns: [[f64; 4]; 7] = [
            [1.0, 0.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
            [0.0, 0.0, 0.0, 1.0],
            [0.5, 0.5, 0.5, 0.5],
            [0.5, -0.5, 0.5, -0.5],
            [1e-3, 0.3, -0.4, 0.866_024_826_434_290_4],
        ];
        for turn in turns {
            for (qfac, z) in [(1.0, 1.0), (-1.0, -1.0)] {
                let [x, y, third] = rotation(turn);
                let mirrored = [x, y, third.map(|v| v * z)];
                let affine = affine(mirrored, [0.5, 0.75, 3.0]);
                let qform = Qform::of(&affine, [512.0, 512.0, 100.0]).unwrap();
                assert_eq!(qform.qfac, qfac);
                assert_eq!(qform.offset, [7.0, 7.0, 7.0]);
                for (got, wanted) in qform.quatern.iter().zip(&turn[1..]) {
                    assert!((got - wanted).abs() < 1e-9, "{turn:?}: {qform:?}");
                }
            }
        }
    }

    #[test]
    fn shear_has_no_qform() {
        // mm off at the far corner of 101 slices of 1 mm, and whether a qform may still be given.
        for (sheared_mm, is_given) in [(0.0, true), (0.01, true), (0.05, false), (20.0, false)] {
            let mut affine = affine(
                [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]],
                [1.0; 3],
            );
            affine[1][2] = sheared_mm / 100.0;
            let qform = Qform::of(&affine, [2.0, 2.0, 101.0]);
            assert_eq!(qform.is_some(), is_given, "{sheared_mm}");
        }
        assert_eq!(Qform::of(&[[f64::NAN; 4]; 4], [2.0; 3]), None);
    }
}
