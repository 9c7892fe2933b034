//! Where an exported file goes: checked first, written under another name, then put in place whole.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{CWD, RenameFlags};
use tempfile::{NamedTempFile, TempDir};

/// Beginning of the names of what is not finished.
const UNFINISHED: &str = ".dicomfs-export-";

/// What new files and directories may be, before the user's umask.
const FILE_MODE: u32 = 0o666;
const DIRECTORY_MODE: u32 = 0o777;

/// Every Zarr directory has this file.
const ZARR_FILE: &str = "zarr.json";

/// A place for a file or a directory.
#[derive(Debug, Clone)]
pub struct Place {
    directory: PathBuf,
    name: OsString,
    force: bool,
}

impl Place {
    /// The place that `file` names. With `force` what is there is replaced.
    ///
    /// # Errors
    /// There is no such directory, it lies in the archive, or the name is taken.
    pub fn new(file: &Path, archive: &Path, force: bool) -> Result<Place> {
        let name = file
            .file_name()
            .ok_or_else(|| anyhow!("{} is no name for a file", file.display()))?;
        let directory = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let directory = fs::canonicalize(directory)
            .with_context(|| format!("there is no directory {}", directory.display()))?;
        let archive = fs::canonicalize(archive)
            .with_context(|| format!("cannot read the archive {}", archive.display()))?;
        if directory.starts_with(&archive) {
            bail!(
                "{} lies in the archive, which is never written to: write it elsewhere",
                file.display()
            );
        }
        let place = Place {
            directory,
            name: name.to_owned(),
            force,
        };
        if place.path() == archive {
            bail!(
                "{} is the archive, which is never written to",
                file.display()
            );
        }
        place.check_free()?;
        Ok(place)
    }

    /// The place beside this one.
    ///
    /// # Errors
    /// The name is taken.
    pub fn beside(&self, name: &str) -> Result<Place> {
        let place = Place {
            name: name.into(),
            ..self.clone()
        };
        place.check_free()?;
        Ok(place)
    }

    /// Its name in the directory.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    fn check_free(&self) -> Result<()> {
        match fs::symlink_metadata(self.path()) {
            Ok(_) if !self.force => Err(self.taken()),
            Ok(_) => Ok(()),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(why) => Err(why).with_context(|| format!("cannot look at {}", self.shown())),
        }
    }

    fn taken(&self) -> anyhow::Error {
        anyhow!("{} is there already: --force replaces it", self.shown())
    }

    fn shown(&self) -> String {
        self.path().display().to_string()
    }

    /// An empty file in the same directory, which goes if it is not put in place.
    ///
    /// # Errors
    /// The directory takes no file.
    pub fn file(&self) -> Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(UNFINISHED)
            .permissions(Permissions::from_mode(FILE_MODE))
            .tempfile_in(&self.directory)
            .with_context(|| format!("cannot write in {}", self.directory.display()))
    }

    /// The same for a directory.
    ///
    /// # Errors
    /// As of [`Place::file`].
    pub fn tree(&self) -> Result<TempDir> {
        let there = self.path();
        if there.exists() && !there.join(ZARR_FILE).is_file() {
            bail!("{} is no Zarr directory: not replaced", self.shown());
        }
        tempfile::Builder::new()
            .prefix(UNFINISHED)
            .permissions(Permissions::from_mode(DIRECTORY_MODE))
            .tempdir_in(&self.directory)
            .with_context(|| format!("cannot write in {}", self.directory.display()))
    }

    /// Takes away the file of this name, if there is one and it may be replaced.
    ///
    /// # Errors
    /// Those of the system.
    pub fn clear(&self) -> Result<()> {
        match fs::remove_file(self.path()) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => {
                Err(why).with_context(|| format!("cannot replace {}", self.shown()))
            }
            _ => Ok(()),
        }
    }

    /// Puts a file in place, once its bytes are on the disk.
    ///
    /// # Errors
    /// Those of the system; the name was taken meanwhile. Then the file is gone.
    pub fn put(&self, file: NamedTempFile) -> Result<()> {
        let cannot = || format!("cannot write {}", self.shown());
        file.as_file().sync_all().with_context(cannot)?;
        let put = match self.force {
            true => file.persist(self.path()),
            false => file.persist_noclobber(self.path()),
        };
        match put {
            Ok(_) => self.sync_directory().with_context(cannot),
            Err(why) if why.error.kind() == io::ErrorKind::AlreadyExists => Err(self.taken()),
            Err(why) => Err(why.error).with_context(cannot),
        }
    }

    /// Puts a directory in place, once all of it is on the disk.
    ///
    /// # Errors
    /// As of [`Place::put`].
    pub fn put_tree(&self, tree: TempDir) -> Result<()> {
        let cannot = || format!("cannot write {}", self.shown());
        // One call for thousands of small files.
        File::open(tree.path())
            .and_then(|directory| Ok(rustix::fs::syncfs(directory)?))
            .with_context(cannot)?;
        let flags = match self.force && self.path().exists() {
            // What was there is then the temporary one, and goes.
            true => RenameFlags::EXCHANGE,
            false => RenameFlags::NOREPLACE,
        };
        match rustix::fs::renameat_with(CWD, tree.path(), CWD, self.path(), flags) {
            Ok(()) if flags == RenameFlags::EXCHANGE => tree.close().with_context(cannot)?,
            // Nothing is left under the temporary name.
            Ok(()) => drop(tree.keep()),
            Err(rustix::io::Errno::EXIST) => return Err(self.taken()),
            Err(why) => return Err(io::Error::from(why)).with_context(cannot),
        }
        self.sync_directory().with_context(cannot)
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn write(place: &Place, bytes: &[u8]) -> Result<()> {
        let mut file = place.file()?;
        file.write_all(bytes)?;
        place.put(file)
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let (dir, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = dir.path().join("a.npy");
        let place = |force| Place::new(&file, archive.path(), force);
        let mut left = place(false).unwrap().file().unwrap();
        left.write_all(b"half").unwrap();
        drop(left);
        assert!(names(dir.path()).is_empty(), "nothing is left of it");
        let first = place(false).unwrap();
        write(&first, b"one").unwrap();
        let why = place(false).expect_err("taken").to_string();
        assert!(why.contains("--force"), "{why}");
        // Taken between the check and the end.
        assert!(
            write(&first, b"two")
                .unwrap_err()
                .to_string()
                .contains("--force")
        );
        write(&place(true).unwrap(), b"three").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"three");
        assert_eq!(names(dir.path()), ["a.npy"]);
    }

    #[test]
    fn the_archive_is_never_written_to() {
        let archive = tempfile::tempdir().unwrap();
        let inside = archive.path().join("deep");
        fs::create_dir(&inside).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("link");
        std::os::unix::fs::symlink(&inside, &link).unwrap();
        for dir in [archive.path(), &inside, &link, &inside.join("..")] {
            let why = Place::new(&dir.join("a.npy"), archive.path(), true).expect_err("inside");
            assert!(why.to_string().contains("never written"), "{why}");
        }
        let packed = elsewhere.path().join("packed.raw");
        fs::write(&packed, "a container").unwrap();
        let why = Place::new(&packed, &packed, true).expect_err("the archive itself");
        assert!(why.to_string().contains("never written"), "{why}");
        let missing = archive.path().join("none/a.npy");
        let why = Place::new(&missing, archive.path(), true).expect_err("no directory");
        assert!(why.to_string().contains("there is no directory"), "{why}");
    }

    #[test]
    fn only_a_zarr_directory_is_replaced_by_one() {
        let (dir, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = dir.path().join("a.zarr");
        let put = |force, text: &str| -> Result<()> {
            let place = Place::new(&target, archive.path(), force)?;
            let tree = place.tree()?;
            fs::write(tree.path().join(ZARR_FILE), text)?;
            place.put_tree(tree)
        };
        put(false, "one").unwrap();
        assert!(put(false, "two").is_err());
        put(true, "three").unwrap();
        assert_eq!(fs::read(target.join(ZARR_FILE)).unwrap(), b"three");
        fs::remove_file(target.join(ZARR_FILE)).unwrap();
        fs::write(target.join("precious"), "mine").unwrap();
        let why = put(true, "four").expect_err("not a Zarr directory");
        assert!(why.to_string().contains("no Zarr directory"), "{why}");
        assert_eq!(names(dir.path()), ["a.zarr"]);
        assert!(target.join("precious").exists());
    }
}
