//! mount.dicomfs(8): what may stand in fstab and after `mount -o`. The options come from the flags and
//! from the table of mount(8)'s own; the rest is text.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::config::options::{GENERIC, Own, own_options};

/// The page.
pub fn page() -> Roff {
    let mut roff = Roff::new();
    let source = super::source();
    let title = [super::HELPER, "8", super::DATE, &source, super::MANUAL];
    roff.control("TH", title);
    section(&mut roff, "NAME");
    roff.text([roman(
        "mount.dicomfs - mount a DICOM archive as array files",
    )]);
    section(&mut roff, "SYNOPSIS");
    synopsis(&mut roff);
    section(&mut roff, "DESCRIPTION");
    description(&mut roff);
    section(&mut roff, "FLAGS");
    flags(&mut roff);
    section(&mut roff, "OPTIONS");
    options(&mut roff);
    section(&mut roff, "OPTIONS OF MOUNT(8)");
    generic(&mut roff);
    section(&mut roff, "CHANGES OF A LIVE MOUNT");
    changes(&mut roff);
    super::exit_statuses(&mut roff);
    section(&mut roff, "FILES");
    files(&mut roff);
    section(&mut roff, "EXAMPLES");
    examples(&mut roff);
    section(&mut roff, "NOTES");
    notes(&mut roff);
    let pages = [
        ("dicomfs", 1),
        ("dicomfs-mount", 1),
        ("mount", 8),
        ("fstab", 5),
        ("systemd.mount", 5),
        ("fusermount3", 1),
    ];
    super::see_also(&mut roff, &pages);
    roff
}

fn section(roff: &mut Roff, title: &str) {
    roff.control("SH", [title]);
}

fn paragraph(roff: &mut Roff, text: &str) {
    roff.control("PP", []);
    roff.text([roman(text)]);
}

fn item(roff: &mut Roff, head: impl Into<Vec<Inline>>, text: &str) {
    roff.control("TP", []);
    roff.text(head);
    roff.text([roman(text)]);
}

fn synopsis(roff: &mut Roff) {
    roff.text([
        bold("mount -t dicomfs"),
        roman(" [-sfnv] [-o "),
        italic("option[,option]..."),
        roman("] "),
        italic("archive mountpoint"),
    ]);
    roff.control("PP", []);
    roff.text([
        bold("mount.dicomfs"),
        roman(" "),
        italic("archive mountpoint"),
        roman(" [-sfnv] [-N "),
        italic("namespace"),
        roman("] [-t "),
        italic("type"),
        roman("] [-o "),
        italic("option[,option]..."),
        roman("]"),
    ]);
}

fn description(roff: &mut Roff) {
    roff.text([roman(
        "mount(8) calls this program for file systems of the type dicomfs, and by the name \
         mount.fuse.dicomfs for the type fuse.dicomfs, which is what /proc/mounts shows. It is the \
         program dicomfs(1) under another name. It returns when the mount answers and the archive is \
         scanned, or after scan_wait seconds while the scan goes on.",
    )]);
    paragraph(
        roff,
        "The archive is a directory with DICOM files and is never written. Who is not root mounts \
         through fusermount3(1), as with any FUSE file system.",
    );
}

fn flags(roff: &mut Roff) {
    let all = [
        (
            "-s",
            "Leave out options that nobody knows, and name them, instead of failing.",
        ),
        ("-f", "Fake: check arguments and options, mount nothing."),
        ("-n", "Without effect: there is no /etc/mtab to be written."),
        ("-v", "Say what happens (log_level=info)."),
        (
            "-N namespace",
            "Mount in the mount namespace of this file or process number; all paths are those of the \
             namespace, and the program has to be there as well.",
        ),
        ("-t type", "Without effect: there is one type."),
        ("-o list", "Options, with commas in between; see below."),
    ];
    for (flag, text) in all {
        item(roff, [bold(flag)], text);
    }
}

fn options(roff: &mut Roff) {
    roff.text([roman(
        "The flags of dicomfs-mount(1) with underscores. Of an option that is given twice the last one \
         counts. A comma ends an option wherever it stands; mount.dicomfs -o and dicomfs mount -o \
         take a comma of a value as \\,.",
    )]);
    for option in own_options().into_iter().filter(|option| option.is_shown) {
        let Own {
            name,
            value_name,
            help,
            ..
        } = option;
        let mut head = vec![bold(name)];
        if let Some(value) = value_name {
            head.push(roman("="));
            head.push(italic(value));
        }
        item(roff, head, &help);
    }
}

fn generic(roff: &mut Roff) {
    roff.text([roman(
        "Accepted, so that an fstab line may have them. An option that is not in this page is refused, \
         and the nearest known one is named.",
    )]);
    for generic in GENERIC {
        item(roff, [bold(generic.names.join(", "))], generic.help);
    }
    item(
        roff,
        [bold("x-*, X-*, comment=...")],
        "For others to read, most of all x-systemd.*: see systemd.mount(5).",
    );
}

fn changes(roff: &mut Roff) {
    roff.text([roman(
        "mount -o remount changes noexec and exec. The same options as before are accepted and change \
         nothing. Any other option that differs is refused with exit status 32 and named: unmount, and \
         mount again. A mount that was made without rw does not take rw.",
    )]);
}

fn files(roff: &mut Roff) {
    let all = [
        (
            "/etc/fstab",
            "Mounts of the machine; see EXAMPLES and fstab(5).",
        ),
        (
            "/var/cache/dicomfs/",
            "Indexes of archives that root mounts; others have theirs in ~/.cache/dicomfs/. They hold \
             headers, which name patients, and are their owner's only. They can be deleted while \
             nothing is mounted.",
        ),
        (
            "/etc/dicomfs/INSTANCE.conf",
            "Archive and options of a dicomfs@INSTANCE.service.",
        ),
        (
            "/etc/fuse.conf",
            "With the line user_allow_other others than root may use allow_other.",
        ),
        (
            "MOUNTPOINT/.dicomfs/",
            "What is mounted: version, config.json, stats.json, findings.jsonl.",
        ),
    ];
    for (file, text) in all {
        item(roff, [italic(file)], text);
    }
}

fn examples(roff: &mut Roff) {
    let all = [
        (
            "An archive for all users, by hand:",
            "mount -t dicomfs /archive /mnt/dicom -o ro,allow_other",
        ),
        (
            "In /etc/fstab; the boot goes on without it:",
            "/archive /mnt/dicom dicomfs ro,allow_other,nofail 0 0",
        ),
        (
            "In /etc/fstab, the archive on the network, mounted at the first access:",
            "/net/archive /mnt/dicom dicomfs \
             ro,allow_other,nofail,_netdev,x-systemd.automount,x-systemd.mount-timeout=60 0 0",
        ),
        (
            "In /etc/fstab, for a user to mount with mount /home/me/dicom:",
            "/archive /home/me/dicom dicomfs ro,noauto,user 0 0",
        ),
    ];
    for (n, (what, line)) in all.into_iter().enumerate() {
        match n {
            0 => roff.text([roman(what)]),
            _ => {
                paragraph(roff, what);
                &mut *roff
            }
        };
        roff.control("PP", []);
        roff.control("nf", []);
        roff.control("RS", ["4"]);
        roff.text([roman(line)]);
        roff.control("RE", []);
        roff.control("fi", []);
    }
}

fn notes(roff: &mut Roff) {
    roff.text([roman(
        "umount(8) needs no helper: when the mount goes, its processes end. What is still open keeps it \
         busy (exit status 32); umount -l takes it away at once and lets open files be read until they \
         are closed. Who has mounted without being root unmounts with umount(8) or fusermount3 -u.",
    )]);
    paragraph(
        roff,
        "nofail, and x-systemd.mount-timeout= above scan_wait, keep an archive that is slow from holding \
         up a boot.",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_in_the_page() {
        let page = page().render();
        for option in own_options() {
            // roff breaks no word at an underscore, and nothing else in a name has to be escaped.
            let head = format!("\n\\fB{}\\fR", option.name);
            assert_eq!(page.contains(&head), option.is_shown, "{}", option.name);
        }
        for name in GENERIC.iter().flat_map(|generic| generic.names) {
            assert!(page.contains(name), "{name}");
        }
    }

    #[test]
    fn values_have_their_defaults() {
        for option in own_options() {
            let has_default = option.help.contains("[default: ");
            // Nowhere.
            let none = ["cache_dir", "audit", "deid_key"];
            let without = none.contains(&option.name.as_str()) || !option.is_shown;
            let wanted = option.value_name.is_some() && !without;
            assert!(!wanted || has_default, "{}: {}", option.name, option.help);
        }
    }
}
