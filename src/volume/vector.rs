//! Arithmetic on vectors of three. Knows no DICOM.

/// A vector or a point, mm or direction cosines.
pub(super) type Vector = [f64; 3];

/// Scalar product.
pub(super) fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Vector product.
pub(super) fn cross(a: Vector, b: Vector) -> Vector {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

/// `a + b`.
pub(super) fn add(a: Vector, b: Vector) -> Vector {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// `a - b`.
pub(super) fn sub(a: Vector, b: Vector) -> Vector {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// `a * factor`.
pub(super) fn scale(a: Vector, factor: f64) -> Vector {
    a.map(|x| x * factor)
}

/// `a / divisor`: not the same as scaling by the reciprocal, which rounds twice.
pub(super) fn divide(a: Vector, divisor: f64) -> Vector {
    a.map(|x| x / divisor)
}

/// Euclidean length.
pub(super) fn norm(a: Vector) -> f64 {
    // A vector along one axis keeps its length exactly; the square root of a square need not.
    match a {
        [x, 0.0, 0.0] | [0.0, x, 0.0] | [0.0, 0.0, x] => x.abs(),
        _ => dot(a, a).sqrt(),
    }
}

/// Largest difference of a component.
pub(super) fn max_difference(a: &[f64], b: &[f64]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, f64::max)
}
