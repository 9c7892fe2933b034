//! The key to de-identify with: a file that the operator keeps.
//!
//! The whole file is the key. Whoever has it can find out who is who by trying, so it must be nobody
//! else's to read.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::config::Machine;
use crate::dicom::Deid;
use crate::dicom::deid::KEY_BYTES_MIN;

/// More is no key but a mistake.
const KEY_FILE_BYTES_MAX: u64 = 64 << 10;

/// Random bytes of a new key.
const NEW_KEY_BYTES: usize = 32;

/// Reads the key.
///
/// # Errors
/// It is not there, not ours alone, or too short: in one line that says what to do.
pub fn read(path: &Path) -> Result<Deid> {
    let name = path.display();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    let file = file.with_context(|| {
        format!("cannot read the key {name}; make one with `dicomfs generate deid-key {name}`")
    })?;
    let metadata = file
        .metadata()
        .with_context(|| format!("cannot read the key {name}"))?;
    if !metadata.is_file() {
        bail!("the key {name} is not a file");
    }
    let me = Machine::read().uid;
    if metadata.uid() != me {
        bail!("the key {name} is not yours; say `chown {me} {name}`");
    }
    if metadata.mode() & 0o077 != 0 {
        bail!("others may use the key {name}; say `chmod 600 {name}`");
    }
    let mut key = Vec::new();
    file.take(KEY_FILE_BYTES_MAX + 1)
        .read_to_end(&mut key)
        .with_context(|| format!("cannot read the key {name}"))?;
    if key.len() as u64 > KEY_FILE_BYTES_MAX {
        bail!("the key {name} is longer than any key: is it the right file?");
    }
    let end = key.trim_ascii_end().len();
    Deid::new(&key[..end]).with_context(|| {
        format!(
            "the key {name} is shorter than {KEY_BYTES_MIN} bytes; make one with `dicomfs generate \
             deid-key FILE`"
        )
    })
}

/// Makes a new key: 256 random bits in hexadecimal, in a new file of mode 0600.
///
/// # Errors
/// The file exists, or cannot be written.
pub fn create(path: &Path) -> Result<()> {
    let name = path.display();
    let mut random = [0; NEW_KEY_BYTES];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .context("no random numbers can be had")?;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make {name}; a key is never written over"))?;
    writeln!(file, "{hex}")
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {name}"))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_made_read_and_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let refused = |path: &Path| format!("{:#}", read(path).unwrap_err());
        assert!(refused(&path).contains("generate deid-key"));
        create(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let uid = read(&path).unwrap().uid("1.2.3");
        assert_eq!(read(&path).unwrap().uid("1.2.3"), uid);
        assert!(create(&path).is_err(), "a key was written over");
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(refused(&path).contains("chmod 600"));
        std::fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        assert_eq!(read(&path).unwrap().uid("1.2.3"), uid);
        let short = dir.path().join("short");
        std::fs::write(&short, "too short\n").unwrap();
        std::fs::set_permissions(&short, Permissions::from_mode(0o600)).unwrap();
        assert!(refused(&short).contains("shorter than 32"));
        let other = dir.path().join("other");
        create(&other).unwrap();
        assert_ne!(read(&other).unwrap().uid("1.2.3"), uid);
        assert!(refused(dir.path()).contains("not a file"));
    }
}
