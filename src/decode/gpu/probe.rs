//! What a device is, for people and for the process that wants to use it.

use std::panic::catch_unwind;

use super::DeviceReport;
use super::driver::{self, Device};

/// CUDA version of the oldest driver that reads the kernels (PTX ISA 8.0): R525.
const DRIVER_VERSION_MIN: u32 = 12000;

/// Compute capability that the kernels are compiled for, as their PTX says.
const CAPABILITY_MIN: (u32, u32) = (6, 0);

/// The device with this ordinal and what is said of it, without taking any of its memory. Never
/// panics. Libraries are for who uses the device to add.
///
/// # Errors
/// Why it cannot be used, in words: no driver, a driver that is too old, no such device.
pub(super) fn find(ordinal: u32) -> Result<(Device, DeviceReport), String> {
    // All that `cudarc` panics at is asked for before; this is for what nobody thought of.
    catch_unwind(|| {
        driver::require()?;
        let device = Device::find(ordinal)?;
        let report = report(ordinal, &device)?;
        Ok((device, report))
    })
    .unwrap_or_else(|_| Err("the CUDA driver could not be asked".to_string()))
}

fn report(ordinal: u32, device: &Device) -> Result<DeviceReport, String> {
    let version = device.driver_version;
    let driver_version = format!("{}.{}", version / 1000, version % 1000 / 10);
    if version < DRIVER_VERSION_MIN {
        return Err(format!(
            "the driver is for CUDA {driver_version}: 12.0 (R525) or newer is needed"
        ));
    }
    let (major, minor) = device.capability;
    let compute_capability = format!("{major}.{minor}");
    if device.capability < CAPABILITY_MIN {
        return Err(format!(
            "{} has compute capability {compute_capability}: 6.0 or newer is needed",
            device.name
        ));
    }
    Ok(DeviceReport {
        ordinal,
        name: device.name.clone(),
        uuid: uuid_text(device.uuid),
        memory_bytes: device.memory_bytes,
        driver_version,
        compute_capability,
        libraries: Vec::new(),
        export: device.export,
    })
}

fn uuid_text(bytes: [u8; 16]) -> String {
    let mut text = "GPU".to_string();
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 0 | 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text += &format!("{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_written_as_nvidia_smi_does() {
        let bytes = std::array::from_fn(|at| at as u8 * 17);
        let text = "GPU-00112233-4455-6677-8899-aabbccddeeff";
        assert_eq!(uuid_text(bytes), text);
    }

    #[test]
    fn an_unknown_device_is_a_sentence() {
        // With or without a driver: there are no thousand devices.
        let why = find(1000).map(|_| ()).unwrap_err();
        assert!(why.contains(' ') && !why.contains("panic"), "{why}");
    }
}
