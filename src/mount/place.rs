//! Where to mount: checks the mountpoint and clears a dead mount of ours away.
//!
//! Runs before anything else is started, so that its errors reach the caller at once and Ctrl-C
//! still works should a file system below not answer.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use super::kernel::Identity;
use super::probe::Way;
use super::{FSTYPE, Options, fusermount, kernel, mountinfo, probe};

/// Dead mounts stacked at one place: more than this is not a leftover but a mistake.
const STACKED_MAX: usize = 16;

/// Checks that `options` can be mounted; the mountpoint without symbolic links.
///
/// # Errors
///
/// Missing archive or mountpoint, a live dicomfs there, or one path inside another that the mount
/// would hide or walk into.
pub fn prepare(options: &Options) -> anyhow::Result<PathBuf> {
    let mountpoint = resolve(&options.mountpoint)?;
    clear(&mountpoint)?;
    let metadata = std::fs::metadata(&mountpoint)
        .with_context(|| format!("cannot use the mountpoint {}", mountpoint.display()))?;
    if !metadata.is_dir() {
        bail!(
            "the mountpoint {} is not a directory; name one, or make it with `mkdir -p`",
            mountpoint.display()
        );
    }
    let source = std::fs::canonicalize(&options.source).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow!(
            "there is no archive {}; check the path, and that its disk is mounted",
            options.source.display()
        ),
        _ => anyhow!(
            "cannot open the archive {}: {error}",
            options.source.display()
        ),
    })?;
    if mountpoint != source && mountpoint.starts_with(&source) {
        bail!(
            "the mountpoint {} lies in the archive {}, which would then contain itself; \
             mount elsewhere",
            mountpoint.display(),
            source.display()
        );
    }
    let own = options.own_files.iter();
    let own = own.map(|(what, path)| (*what, path.as_path()));
    for (what, path) in own.chain([("archive", source.as_path())]) {
        let path = resolve_missing(path);
        if path.starts_with(&mountpoint) {
            bail!(
                "the {what} {} lies in the mountpoint {}, which would hide it",
                path.display(),
                mountpoint.display()
            );
        }
    }
    let mut entries = std::fs::read_dir(&mountpoint)
        .with_context(|| format!("cannot list the mountpoint {}", mountpoint.display()))?;
    if entries.next().is_some() {
        tracing::warn!(
            "{} is not empty: its files are hidden while mounted",
            mountpoint.display()
        );
    }
    Ok(mountpoint)
}

/// The mountpoint without symbolic links; also where a dead mount answers nothing.
pub(super) fn resolve(path: &Path) -> anyhow::Result<PathBuf> {
    match std::fs::canonicalize(path) {
        Ok(resolved) => Ok(resolved),
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
            "there is no mountpoint {path}; make it with `mkdir -p {path}`",
            path = path.display()
        ),
        Err(error) if is_dead(&error) => {
            let absolute = std::path::absolute(path)?;
            let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
                bail!("cannot use the mountpoint {}: {error}", path.display());
            };
            let parent = std::fs::canonicalize(parent)
                .with_context(|| format!("cannot use the mountpoint {}", path.display()))?;
            Ok(parent.join(name))
        }
        Err(error) => {
            Err(error).with_context(|| format!("cannot use the mountpoint {}", path.display()))
        }
    }
}

/// `path` without symbolic links as far as it exists; the rest is taken as it is.
pub(crate) fn resolve_missing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    for ancestor in absolute.ancestors() {
        if let Ok(resolved) = std::fs::canonicalize(ancestor) {
            return match absolute.strip_prefix(ancestor) {
                Ok(rest) if rest.as_os_str().is_empty() => resolved,
                Ok(rest) => resolved.join(rest),
                Err(_) => absolute,
            };
        }
    }
    absolute
}

/// The mounts that make up what is at `path`: the one that it lies on and those below it. They are other
/// ones when something there was mounted or unmounted meanwhile, of which nobody is told otherwise.
pub fn mounts_in(path: &Path) -> Vec<(PathBuf, Identity)> {
    let path = resolve_missing(path);
    // Where the system does not say, nothing ever changes.
    let entries = mountinfo::read().unwrap_or_default();
    let identity = |place: &Path| {
        let opened = kernel::open_place(place).ok()?;
        Some((place.to_owned(), kernel::identity(opened.as_fd()).ok()?))
    };
    let places = mountinfo::places_in(&entries, &path).into_iter();
    places.filter_map(identity).collect()
}

/// What the kernel answers on a FUSE mount whose daemon is gone.
fn is_dead(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOTCONN | libc::ECONNABORTED)
    )
}

/// Detaches mounts of ours at `mountpoint` whose daemon is gone; refuses one that is live.
fn clear(mountpoint: &Path) -> anyhow::Result<()> {
    for _ in 0..STACKED_MAX {
        let entries = mountinfo::read().context("cannot read /proc/self/mountinfo")?;
        let Some(top) = mountinfo::topmost(&entries, mountpoint) else {
            return Ok(());
        };
        if top.fstype != FSTYPE {
            return Ok(());
        }
        let alive = std::fs::metadata(mountpoint)
            .err()
            .is_none_or(|error| !is_dead(&error));
        if alive {
            bail!(
                "{place} is already a mount of {}; unmount it first with `umount {place}`",
                Path::new(&top.source).display(),
                place = mountpoint.display()
            );
        }
        tracing::warn!(
            "clearing a mount at {} whose daemon is gone",
            mountpoint.display()
        );
        detach_dead(mountpoint)
            .with_context(|| format!("cannot clear the dead mount at {}", mountpoint.display()))?;
    }
    bail!(
        "too many dead mounts are stacked at {}",
        mountpoint.display()
    )
}

fn detach_dead(mountpoint: &Path) -> anyhow::Result<()> {
    let place = kernel::open_place(mountpoint)?;
    let identity = kernel::identity(place.as_fd())?;
    drop(place);
    match kernel::detach(mountpoint, &identity) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            match probe::probe().way() {
                Ok(Way::Fusermount(helper)) => fusermount::unmount(&helper, mountpoint),
                _ => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(source: &Path, mountpoint: &Path) -> Options {
        Options {
            source: source.to_path_buf(),
            mountpoint: mountpoint.to_path_buf(),
            own_files: Vec::new(),
            allow_other: false,
            noexec: false,
            context: None,
            foreground: true,
        }
    }

    fn refusal(options: &Options) -> String {
        format!("{:#}", prepare(options).expect_err("must be refused"))
    }

    #[test]
    fn a_good_place_is_resolved() {
        let directory = tempfile::tempdir().expect("tempdir");
        let root = directory.path().canonicalize().expect("canonicalize");
        let (archive, place, link) = (root.join("a"), root.join("m"), root.join("link"));
        std::fs::create_dir(&archive).expect("mkdir");
        std::fs::create_dir(&place).expect("mkdir");
        std::os::unix::fs::symlink(&place, &link).expect("symlink");
        assert_eq!(prepare(&options(&archive, &link)).expect("good"), place);
        // Not empty: allowed, the user is warned.
        std::fs::write(place.join("file"), b"x").expect("write");
        assert_eq!(prepare(&options(&archive, &place)).expect("good"), place);
        // A sibling whose name only begins the same is not inside.
        let longer = root.join("mm");
        std::fs::create_dir(&longer).expect("mkdir");
        assert!(prepare(&options(&longer, &place)).is_ok());
    }

    #[test]
    fn bad_places_are_refused_in_words() {
        let directory = tempfile::tempdir().expect("tempdir");
        let root = directory.path().canonicalize().expect("canonicalize");
        let (archive, place, file) = (root.join("a"), root.join("m"), root.join("f"));
        std::fs::create_dir_all(archive.join("sub")).expect("mkdir");
        std::fs::create_dir_all(place.join("sub")).expect("mkdir");
        std::fs::write(&file, b"x").expect("write");
        let cases = [
            (archive.clone(), root.join("none"), "mkdir -p"),
            (archive.clone(), file, "not a directory"),
            (root.join("none"), place.clone(), "there is no archive"),
            (place.clone(), place.clone(), "would hide it"),
            (place.join("sub"), place.clone(), "would hide it"),
            (archive.clone(), archive.join("sub"), "contain itself"),
        ];
        for (source, mountpoint, words) in cases {
            let said = refusal(&options(&source, &mountpoint));
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn own_files_inside_the_mountpoint_are_refused() {
        let directory = tempfile::tempdir().expect("tempdir");
        let (archive, place) = (directory.path().join("a"), directory.path().join("m"));
        std::fs::create_dir(&archive).expect("mkdir");
        std::fs::create_dir(&place).expect("mkdir");
        // Neither file nor directory exists yet.
        let index = place.join("not/yet/index.sqlite");
        let mut options = options(&archive, &place);
        options.own_files.push(("index", index));
        let said = refusal(&options);
        assert!(
            said.contains("the index") && said.contains("would hide it"),
            "{said}"
        );
    }
}
