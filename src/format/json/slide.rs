//! Where the frames of a slide image lie in the image they are tiles of (PS3.3 C.7.6.17.3).

use crate::dicom::{Instance, Value};

/// Total Pixel Matrix Rows and Columns (0048,0007 / 0048,0006), where both are above 0.
pub(super) fn total_pixel_matrix(instance: &Instance) -> Option<[u64; 2]> {
    let length = |keyword: &str| match instance.attributes.get(keyword)? {
        Value::Int(length) => u64::try_from(length).ok().filter(|length| *length > 0),
        _ => None,
    };
    Some([
        length("TotalPixelMatrixRows")?,
        length("TotalPixelMatrixColumns")?,
    ])
}

/// First row and column, 0-based, of a frame in the total pixel matrix: as the frame says, else by
/// its number where the tiles are stored in order.
pub(super) fn matrix_position(instance: &Instance, frame_index: u32) -> Option<[i64; 2]> {
    let said = instance.of_frame(frame_index, |a| a.total_matrix_position);
    if let Some([column, row]) = said {
        return Some([row.saturating_sub(1), column.saturating_sub(1)]);
    }
    let organization = instance.attributes.get("DimensionOrganizationType")?;
    if organization != Value::Text("TILED_FULL".to_owned()) {
        return None;
    }
    let image = instance.image.as_ref()?;
    tile_position(
        total_pixel_matrix(instance)?,
        [image.rows, image.columns],
        image.number_of_frames,
        frame_index,
    )
}

/// Position of a frame of TILED_FULL: along rows, then down. `None` unless the frames are one layer
/// of tiles: with several focal planes or optical paths there are as many times more.
fn tile_position(
    [total_rows, total_columns]: [u64; 2],
    [rows, columns]: [u32; 2],
    number_of_frames: u32,
    frame_index: u32,
) -> Option<[i64; 2]> {
    let [rows, columns] = [rows, columns].map(u64::from);
    if rows == 0 || columns == 0 {
        return None;
    }
    let across = total_columns.div_ceil(columns);
    let tiles = across.checked_mul(total_rows.div_ceil(rows))?;
    let index = u64::from(frame_index);
    if tiles != u64::from(number_of_frames) || index >= tiles {
        return None;
    }
    let position = [index / across * rows, index % across * columns];
    let [row, column] = position.map(|at| i64::try_from(at).ok());
    Some([row?, column?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::FrameAttributes;

    #[test]
    fn tiles_in_order() {
        for (total, tile, frames, index, expected) in [
            ([600, 1000], [256, 256], 12, 0, Some([0, 0])),
            ([600, 1000], [256, 256], 12, 3, Some([0, 768])),
            ([600, 1000], [256, 256], 12, 4, Some([256, 0])),
            ([600, 1000], [256, 256], 12, 11, Some([512, 768])),
            ([600, 1000], [256, 256], 12, 12, None),
            ([600, 1000], [300, 500], 4, 3, Some([300, 500])),
            // Two focal planes or optical paths, or a part of a concatenation.
            ([600, 1000], [256, 256], 24, 3, None),
            ([600, 1000], [256, 256], 6, 3, None),
            ([600, 1000], [0, 256], 12, 3, None),
            ([u64::MAX, u64::MAX], [1, 1], 12, 3, None),
            ([1, u64::from(u32::MAX)], [1, 1], u32::MAX, 9, Some([0, 9])),
        ] {
            let got = tile_position(total, tile, frames, index);
            assert_eq!(got, expected, "{total:?} {tile:?} {frames} {index}");
        }
    }

    #[test]
    fn a_position_that_is_said_counts_from_one_and_column_first() {
        let at = |position| FrameAttributes {
            total_matrix_position: position,
            ..FrameAttributes::default()
        };
        let mut instance = Instance {
            per_frame: vec![at(Some([257, 1])), at(None), at(Some([i64::MIN, 0]))],
            ..Instance::default()
        };
        assert_eq!(matrix_position(&instance, 0), Some([0, 256]));
        assert_eq!(matrix_position(&instance, 1), None);
        assert_eq!(matrix_position(&instance, 2), Some([-1, i64::MIN]));
        assert_eq!(matrix_position(&instance, 3), None);
        instance.shared = at(Some([3, 2]));
        assert_eq!(matrix_position(&instance, 1), Some([1, 2]));
        assert_eq!(total_pixel_matrix(&instance), None);
    }
}
