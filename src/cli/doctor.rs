//! `dicomfs doctor`: what this machine can do, what is missing and how to get it.

use std::io::Write;

use crate::cache::{BackingKind, Cache};
use crate::decode;
use crate::mount::{self, Probe};

/// Writes the report.
///
/// # Errors
///
/// Only that `out` takes no more; a machine that can do nothing is a report too.
pub fn run(out: &mut dyn Write) -> anyhow::Result<()> {
    report_mounting(&mount::probe(), out)?;
    report_cache(out)?;
    report_decoders(out)
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

fn report_decoders(out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "gpu           not used in this version: everything is decoded on the CPU"
    )?;
    writeln!(out, "\nTransfer syntaxes and what decodes them:")?;
    for entry in decode::table() {
        match entry.served_by() {
            Ok(decoder) => writeln!(out, "  {:<24} {:<24} {}", entry.uid, decoder, entry.name)?,
            Err(why) => writeln!(out, "  {:<24} no: {why} ({})", entry.uid, entry.name)?,
        }
    }
    Ok(())
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
    use crate::mount::Device;

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
