//! `dicomfs doctor`: what this machine can do, what is missing and how to get it.

use std::io::Write;
use std::time::Duration;

use crate::cache::{BackingKind, Cache};
use crate::decode;
use crate::decode::gpu::{self, Codec, DeviceReport, Launch};
use crate::mount::{self, Probe};

/// Writes the report.
///
/// # Errors
///
/// Only that `out` takes no more; a machine that can do nothing is a report too.
pub fn run(out: &mut dyn Write) -> anyhow::Result<()> {
    report_mounting(&mount::probe(), out)?;
    report_cache(out)?;
    let devices = probe_devices();
    report_devices(&devices, out)?;
    report_decoders(&devices, out)
}

fn report_cache(out: &mut dyn Write) -> anyhow::Result<()> {
    let kind = Cache::new(0, 1).map(|cache| cache.backing_kind());
    match kind {
        Ok(BackingKind::PrivateTmpfs) => writeln!(out, "cache         memory, large pages")?,
        Ok(BackingKind::Memfd) => writeln!(
            out,
            "cache         memory, small pages: large ones take root (CAP_SYS_ADMIN)"
        )?,
        Err(why) => writeln!(out, "cache         no: {why}")?,
    }
    Ok(())
}

/// Devices that are looked for at least: without device files the driver may know better.
const DEVICES_MIN: u32 = 1;

/// Devices that are reported at most.
const DEVICES_MAX: u32 = 64;

/// How long one device may take to say what it is.
const PROBE_TIME: Duration = Duration::from_secs(60);

/// What the devices of this machine are, or why there is none. Each is opened in a process of its
/// own, as a mount does it: a driver that crashes or hangs is a line of the report.
fn probe_devices() -> Vec<Result<DeviceReport, String>> {
    let mut launch = Launch::this_program();
    launch.limits.start = PROBE_TIME;
    let count = gpu::device_count().clamp(DEVICES_MIN, DEVICES_MAX);
    (0..count).map(|n| gpu::probe(n, &launch)).collect()
}

fn report_devices(
    devices: &[Result<DeviceReport, String>],
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    for (n, device) in devices.iter().enumerate() {
        let label = format!("gpu {n}");
        let found = match device {
            Ok(found) => found,
            Err(why) => {
                writeln!(out, "{label:<13} no: {why}")?;
                continue;
            }
        };
        let memory_gib = found.memory_bytes as f64 / f64::from(1 << 30);
        writeln!(
            out,
            "{label:<13} {}, {memory_gib:.1} GiB, compute capability {}, driver for CUDA {} ({})",
            found.name, found.compute_capability, found.driver_version, found.uuid
        )?;
        for library in &found.libraries {
            match &library.version {
                Ok(version) => writeln!(out, "{:<13} {} {version}", "", library.name)?,
                Err(why) => writeln!(out, "{:<13} no {}: {why}", "", library.name)?,
            }
        }
        writeln!(out, "{:<13} tensors exported: {}", "", found.export)?;
    }
    if !devices.iter().any(Result::is_ok) {
        writeln!(out, "{:<13} everything is decoded on the CPU", "")?;
    }
    Ok(())
}

fn report_decoders(
    devices: &[Result<DeviceReport, String>],
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    writeln!(
        out,
        "\nTransfer syntaxes, what decodes them on the CPU, and whether a GPU may (gpu), could with \
         what is\nmissing here ((gpu)), or does not (-):"
    )?;
    for entry in decode::table() {
        match entry.served_by() {
            Ok(decoder) => {
                let gpu = gpu_column(entry.uid, devices);
                let (uid, name) = (entry.uid, entry.name);
                writeln!(out, "  {uid:<24} {decoder:<24} {gpu:<6} {name}")?;
            }
            Err(why) => writeln!(out, "  {:<24} no: {why} ({})", entry.uid, entry.name)?,
        }
    }
    Ok(())
}

fn gpu_column(uid: &str, devices: &[Result<DeviceReport, String>]) -> &'static str {
    let Some(codec) = Codec::for_syntax(uid) else {
        return "-";
    };
    let can = |device: &DeviceReport| device.can(codec).is_ok();
    match devices.iter().flatten().any(can) {
        true => "gpu",
        false => "(gpu)",
    }
}

fn report_mounting(probe: &Probe, out: &mut dyn Write) -> anyhow::Result<()> {
    match probe.way() {
        Ok(way) => writeln!(out, "mounting      yes, {way}")?,
        Err(why) => writeln!(out, "mounting      no: {why}")?,
    }
    match probe.passthrough() {
        Ok(()) => writeln!(out, "passthrough   yes")?,
        Err(why) => writeln!(
            out,
            "passthrough   no: {why}. Decoded files are read through the page cache instead"
        )?,
    }
    let others = probe.is_root || probe.user_allow_other;
    match others {
        true => writeln!(out, "allow_other   yes")?,
        false => writeln!(
            out,
            "allow_other   no: add the line `user_allow_other` to /etc/fuse.conf"
        )?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::gpu::{Export, LibraryReport, NVJPEG2K};
    use crate::mount::Device;

    #[test]
    fn a_device_and_what_it_lacks_are_shown() {
        let device = |version| DeviceReport {
            ordinal: 0,
            name: "NVIDIA H200".into(),
            uuid: "GPU-1234".into(),
            memory_bytes: 140 << 30,
            driver_version: "12.2".into(),
            compute_capability: "9.0".into(),
            libraries: vec![LibraryReport {
                name: NVJPEG2K.into(),
                version,
            }],
            export: Export::Descriptor,
        };
        let report = |devices: &[Result<DeviceReport, String>]| {
            let mut out = Vec::new();
            report_devices(devices, &mut out).expect("memory takes it");
            report_decoders(devices, &mut out).expect("memory takes it");
            String::from_utf8(out).expect("UTF-8")
        };
        let column = |text: &str, uid: &str| {
            let line = text.lines().find(|line| line.trim().starts_with(uid));
            let words = line.expect("a line").split_ascii_whitespace();
            let found = words
                .into_iter()
                .find(|word| ["gpu", "(gpu)", "-"].contains(word));
            found.map(str::to_string)
        };
        let (rle, j2k) = ("1.2.840.10008.1.2.5 ", "1.2.840.10008.1.2.4.90 ");
        let text = report(&[Ok(device(Err("not found".into()))), Err("too old".into())]);
        for words in [
            "NVIDIA H200, 140.0 GiB",
            "no nvJPEG2000: not found",
            "tensors exported: as file descriptors",
            "gpu 1         no: too old",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains("everything is decoded on the CPU"));
        assert_eq!(column(&text, rle).as_deref(), Some("gpu"));
        assert_eq!(column(&text, j2k).as_deref(), Some("(gpu)"));
        assert_eq!(
            column(&text, "1.2.840.10008.1.2.4.80 ").as_deref(),
            Some("-")
        );
        let text = report(&[Ok(device(Ok("0.11".into())))]);
        assert_eq!(column(&text, j2k).as_deref(), Some("gpu"));
        let text = report(&[Err("no driver".into())]);
        assert!(
            text.contains("no: no driver") && text.contains("everything is decoded on the CPU")
        );
        assert_eq!(column(&text, rle).as_deref(), Some("(gpu)"));
    }

    fn report(probe: &Probe) -> String {
        let mut out = Vec::new();
        report_mounting(probe, &mut out).expect("memory takes it");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_machine_without_anything_is_told_what_to_do() {
        let none = Probe {
            device: Device::Missing,
            kernel_has_fuse: false,
            is_root: false,
            may_mount: false,
            initial_user_namespace: true,
            fusermount3: None,
            user_allow_other: false,
            kernel_version: Some((5, 10)),
        };
        let text = report(&none);
        for words in ["modprobe fuse", "5.10", "user_allow_other"] {
            assert!(text.contains(words), "{text}");
        }
        let all = Probe {
            device: Device::Openable,
            kernel_has_fuse: true,
            is_root: true,
            may_mount: true,
            kernel_version: Some((6, 18)),
            ..none
        };
        assert!(!report(&all).contains("no:"), "{}", report(&all));
    }
}
