//! Attributes that may differ from frame to frame, by tag, into [`FrameAttributes`].
//!
//! The same for the top level of a dataset and for functional groups: a tag means the same in
//! both.

use dicom_core::Tag;

use super::super::value::{self, Malformed};
use crate::dicom::FrameAttributes;
use crate::dicom::limits::VALUES_A_FRAME_MAX;

/// Sets what the numbers of `tag` say. There is at least one number.
pub(super) fn set_numbers(
    frame: &mut FrameAttributes,
    tag: Tag,
    numbers: &[f64],
) -> Result<(), Malformed> {
    let first = numbers[0];
    match (tag.0, tag.1) {
        (0x0018, 0x0050) => frame.slice_thickness = Some(first),
        (0x0018, 0x0081 | 0x9082) => frame.echo_time_ms = Some(first),
        (0x0018, 0x0082 | 0x9079) => frame.inversion_time_ms = Some(first),
        (0x0018, 0x0086) => frame.echo_number = Some(value::whole(first)?),
        (0x0018, 0x0088) => frame.spacing_between_slices = Some(first),
        (0x0018, 0x1060) | (0x0020, 0x9153) => frame.trigger_time_ms = Some(first),
        (0x0018, 0x1314) => frame.flip_angle_deg = Some(first),
        (0x0018, 0x9087) => frame.diffusion_b_value = Some(first),
        (0x0018, 0x9089) => frame.diffusion_gradient = Some(exactly(numbers)?),
        (0x0018, 0x9090) => frame.velocity_direction = Some(exactly(numbers)?),
        (0x0020, 0x0012 | 0x9156) => frame.acquisition_number = Some(value::whole(first)?),
        (0x0020, 0x0013) => frame.instance_number = Some(value::whole(first)?),
        (0x0020, 0x0032) => frame.image_position = Some(exactly(numbers)?),
        (0x0020, 0x0037) => frame.image_orientation = Some(exactly(numbers)?),
        (0x0020, 0x0100 | 0x9128) => frame.temporal_position = Some(value::whole(first)?),
        (0x0020, 0x9057) => frame.in_stack_position = Some(counted(first)?),
        (0x0020, 0x9157) => {
            if numbers.len() > VALUES_A_FRAME_MAX {
                return Err(Malformed);
            }
            let values: Result<Vec<u32>, Malformed> =
                numbers.iter().copied().map(counted).collect();
            frame.dimension_index_values = values?;
        }
        (0x0020, 0x9241) => frame.cardiac_phase_percent = Some(first),
        (0x0020, 0x9245) => frame.respiratory_phase_percent = Some(first),
        (0x0020, 0x9301) => {
            frame.image_position = Some(exactly(numbers)?);
            frame.is_in_volume = true;
        }
        (0x0020, 0x9302) => frame.image_orientation = Some(exactly(numbers)?),
        (0x0020, 0x930D) => frame.temporal_position_offset_s = Some(first),
        (0x0028, 0x0030) => frame.pixel_spacing = Some(exactly(numbers)?),
        (0x0028, 0x1052) => frame.rescale_intercept = Some(alone(numbers)?),
        (0x0028, 0x1053) => frame.rescale_slope = Some(alone(numbers)?),
        (0x0062, 0x000B) => frame.segment_number = Some(counted(first)?),
        _ => {}
    }
    Ok(())
}

/// Sets what the text of `tag` says; `raw` is the value as written, for times.
pub(super) fn set_text(
    frame: &mut FrameAttributes,
    tag: Tag,
    text: &str,
    raw: &[u8],
) -> Result<(), Malformed> {
    match (tag.0, tag.1) {
        (0x0008, 0x0008 | 0x9007) => {
            let values = text.split('\\').take(VALUES_A_FRAME_MAX);
            frame.image_type = values.map(|value| value.trim().to_owned()).collect();
        }
        // What follows is nearer to the frame. A year and a month alone are no time, and allowed.
        (0x0008, 0x002A) => {
            frame.acquisition_time_ms = value::date_time_ms(raw).unwrap_or_default();
        }
        (0x0008, 0x0032) => frame.acquisition_time_ms = value::time_ms(raw)?,
        (0x0008, 0x0033) => frame.content_time_ms = value::time_ms(raw)?,
        (0x0008, 0x9208) => frame.complex_image_component = Some(text.to_owned()),
        (0x0018, 0x9074) => frame.acquisition_time_ms = value::date_time_ms(raw)?,
        (0x0018, 0x9151) if frame.acquisition_time_ms.is_none() => {
            frame.acquisition_time_ms = value::date_time_ms(raw)?;
        }
        (0x0020, 0x9056) => frame.stack_id = Some(text.to_owned()),
        (0x0028, 0x1054) => frame.rescale_type = Some(text.to_owned()),
        (0x0054, 0x1001) => frame.units = Some(text.to_owned()),
        _ => {}
    }
    Ok(())
}

pub(super) fn exactly<const N: usize>(numbers: &[f64]) -> Result<[f64; N], Malformed> {
    numbers.try_into().map_err(|_| Malformed)
}

/// One value and no other: two rescale slopes are no slope.
fn alone(numbers: &[f64]) -> Result<f64, Malformed> {
    let [number] = exactly(numbers)?;
    Ok(number)
}

pub(super) fn counted(number: f64) -> Result<u32, Malformed> {
    u32::try_from(value::whole(number)?).map_err(|_| Malformed)
}
