//! What a device is, for people and for the process that wants to use it.

use std::panic::catch_unwind;

use serde::{Deserialize, Serialize};

use super::driver::{self, Device};
use super::jpeg2k;
use super::nvjpeg2k::Nvjpeg2k;

/// CUDA version of the oldest driver that reads the kernels (PTX ISA 8.0): R525.
const DRIVER_VERSION_MIN: u32 = 12000;

/// Compute capability that the kernels are compiled for, as their PTX says.
const CAPABILITY_MIN: (u32, u32) = (6, 0);

/// A device and what it can be used with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// Number of the device, from 0, in the order of the driver.
    pub ordinal: u32,
    /// Name for people: `NVIDIA H200`.
    pub name: String,
    /// `GPU-` and a UUID, as nvidia-smi writes it.
    pub uuid: String,
    /// All its memory, in bytes.
    pub memory_bytes: u64,
    /// CUDA version of the driver: `12.2`.
    pub driver_version: String,
    /// Compute capability: `9.0`.
    pub compute_capability: String,
    /// Libraries that decode on it.
    pub libraries: Vec<LibraryReport>,
}

/// A library that decodes on the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryReport {
    /// Name for people: `nvJPEG2000`.
    pub name: String,
    /// Its version, or why it is not used.
    pub version: Result<String, String>,
}

/// Looks at the device with this ordinal, without taking any of its memory. Never panics.
///
/// # Errors
/// Why it cannot be used, in words: no driver, a driver that is too old, no such device.
pub fn probe(ordinal: u32) -> Result<DeviceReport, String> {
    find(ordinal).map(|(_, report)| report)
}

/// The device and what is said of it.
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
        libraries: vec![jpeg2k::report(
            Nvjpeg2k::load().map(|library| library.version()),
        )],
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
        let why = probe(1000).unwrap_err();
        assert!(why.contains(' ') && !why.contains("panic"), "{why}");
    }
}
