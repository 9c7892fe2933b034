//! Defaults, precedence and refusals of the configuration.

use super::*;

fn machine() -> Machine {
    Machine {
        memory_available_bytes: 8 << 30,
        uid: 1000,
        gid: 100,
        cache_home: "/home/a/.cache".into(),
    }
}

fn resolve(flags: &Flags) -> Result<Config, Error> {
    Config::resolve(Path::new("/archive"), Path::new("/mnt"), flags, &machine())
}

#[test]
fn defaults() {
    let config = resolve(&Flags::default()).expect("defaults");
    assert_eq!(config.cache_size_bytes, Size::Percent(25).to_bytes(8 << 30));
    assert_eq!((config.uid, config.gid, config.umask), (1000, 100, 0o022));
    assert_eq!((&config.device, config.exact), (&Device::Auto, true));
    assert_eq!(config.readahead_frames, None);
    assert_eq!(config.device_cache_size, Size::Percent(25));
    assert!(config.archive.decode_threads >= 1);
    assert_eq!(config.archive.log_level, LogLevel::Warn);
    assert!(!config.allow_other && !config.noexec && !config.foreground);
    let index = config.archive.index.to_str().expect("UTF-8");
    assert!(index.starts_with("/home/a/.cache/dicomfs/") && index.ends_with(".sqlite"));
}

#[test]
fn the_cache_has_a_floor_by_default_only() {
    let small = Machine {
        memory_available_bytes: 100 << 20,
        ..machine()
    };
    let resolve = |flags: &Flags| {
        Config::resolve(Path::new("/a"), Path::new("/m"), flags, &small).expect("resolve")
    };
    assert_eq!(resolve(&Flags::default()).cache_size_bytes, 256 << 20);
    let asked = Flags {
        cache_size: Some(Size::Bytes(1 << 20)),
        ..Flags::default()
    };
    assert_eq!(resolve(&asked).cache_size_bytes, 1 << 20);
}

#[test]
fn flags_win_over_defaults() {
    let flags = Flags {
        archive: ArchiveFlags {
            index: Some("/i".into()),
            decode_threads: Some(3),
            log_level: Some(LogLevel::Debug),
            deid: Some(DeidProfile::Basic),
            deid_key: Some("/k".into()),
        },
        cache_size: Some(Size::Percent(50)),
        uid: Some(1),
        gid: Some(2),
        umask: Some(0o077),
        audit: Some("/a".into()),
        device: Some(Device::Cuda(vec![1, 0])),
        exact: Some(Switch::Off),
        device_cache_size: Some(Size::Bytes(0)),
        readahead_frames: Some(4),
        allow_other: true,
        noexec: true,
        foreground: true,
        ..Flags::default()
    };
    let config = resolve(&flags).expect("flags");
    assert_eq!(config.archive.index, Path::new("/i"));
    assert_eq!(config.archive.decode_threads, 3);
    assert_eq!(config.archive.log_level, LogLevel::Debug);
    assert_eq!(config.cache_size_bytes, Size::Percent(50).to_bytes(8 << 30));
    assert_eq!((config.uid, config.gid, config.umask), (1, 2, 0o077));
    assert_eq!(config.device, Device::Cuda(vec![1, 0]));
    assert_eq!((config.exact, config.readahead_frames), (false, Some(4)));
    assert_eq!(config.device_cache_size, Size::Bytes(0));
    let options = config.mount_options();
    assert!(options.allow_other && options.noexec && options.foreground);
    let own = |what, path: &str| (what, PathBuf::from(path));
    let own_files = [own("audit file", "/a"), own("index", "/i")];
    assert_eq!(options.own_files, own_files);
    let key_file = config.archive.deid.expect("de-identified").key_file;
    assert_eq!(key_file, Path::new("/k"));
}

#[test]
fn a_profile_and_its_key_go_together() {
    let resolved = |deid, key: Option<&str>| {
        let archive = ArchiveFlags {
            deid,
            deid_key: key.map(PathBuf::from),
            ..ArchiveFlags::default()
        };
        resolve(&Flags {
            archive,
            ..Flags::default()
        })
        .map(|config| config.archive.deid.is_some())
    };
    let (off, basic) = (Some(DeidProfile::Off), Some(DeidProfile::Basic));
    assert_eq!(resolved(None, None), Ok(false));
    assert_eq!(resolved(off, None), Ok(false));
    assert_eq!(resolved(basic, Some("/k")), Ok(true));
    let words = resolved(basic, None).expect_err("no key").to_string();
    assert!(words.contains("dicomfs generate deid-key"), "{words}");
    assert!(resolved(basic, Some("")).is_err());
    assert!(resolved(off, Some("/k")).is_err());
    assert!(resolved(None, Some("/k")).is_err());
}

#[test]
fn impossible_values_are_refused() {
    let no_cache = Flags {
        cache_size: Some(Size::Bytes(0)),
        ..Flags::default()
    };
    assert!(matches!(resolve(&no_cache), Err(Error::BadValue { .. })));
    let archive = |archive: ArchiveFlags| Flags {
        archive,
        ..Flags::default()
    };
    let threads = archive(ArchiveFlags {
        decode_threads: Some(1_000_000),
        ..ArchiveFlags::default()
    });
    assert!(matches!(resolve(&threads), Err(Error::BadValue { .. })));
    let index = archive(ArchiveFlags {
        index: Some("".into()),
        ..ArchiveFlags::default()
    });
    assert!(matches!(resolve(&index), Err(Error::BadValue { .. })));
}

#[test]
fn the_cache_directory_has_a_size() {
    let flags = |dir: Option<&str>, size| Flags {
        cache_dir: dir.map(PathBuf::from),
        cache_dir_size: size,
        ..Flags::default()
    };
    let of = |flags: &Flags| resolve(flags).map(|config| config.cache_dir);
    assert_eq!(of(&flags(None, None)), Ok(None));
    let some = |size| {
        let path = PathBuf::from("/c");
        Ok(Some(CacheDir { path, size }))
    };
    assert_eq!(of(&flags(Some("/c"), None)), some(Size::Percent(10)));
    let bytes = Size::Bytes(1 << 30);
    assert_eq!(of(&flags(Some("/c"), Some(bytes))), some(bytes));
    for wrong in [
        flags(None, Some(bytes)),
        flags(Some(""), None),
        flags(Some("/c"), Some(Size::Bytes(0))),
    ] {
        assert!(matches!(of(&wrong), Err(Error::BadValue { .. })));
    }
    let config = resolve(&flags(Some("/c"), None)).expect("resolve");
    let own = config.mount_options().own_files;
    assert!(own.contains(&("cache directory", PathBuf::from("/c"))));
}

#[test]
fn relative_paths_become_absolute() {
    let config = Config::resolve(
        Path::new("archive"),
        Path::new("mnt/"),
        &Flags::default(),
        &machine(),
    )
    .expect("resolve");
    let here = std::env::current_dir().expect("current directory");
    assert_eq!(config.archive.archive, here.join("archive"));
    assert_eq!(config.mountpoint, here.join("mnt"));
}

#[test]
fn one_index_for_each_archive_by_its_real_path() {
    let directory = tempfile::tempdir().expect("tempdir");
    let (real, link) = (directory.path().join("a"), directory.path().join("b"));
    std::fs::create_dir(&real).expect("mkdir");
    std::os::unix::fs::symlink(&real, &link).expect("symlink");
    let home = Path::new("/c");
    assert_eq!(default_index(&real, home), default_index(&link, home));
    assert_ne!(
        default_index(&real, home),
        default_index(directory.path(), home)
    );
}

#[test]
fn another_process_gets_the_same() {
    use std::os::unix::ffi::OsStringExt;
    // Every path of a configuration may be any bytes.
    let odd = |name: &str| {
        let bytes = [name.as_bytes(), b"\xff"].concat();
        PathBuf::from(std::ffi::OsString::from_vec(bytes))
    };
    let flags = Flags {
        archive: ArchiveFlags {
            index: Some(odd("/i")),
            ..ArchiveFlags::default()
        },
        readahead_frames: Some(3),
        device: Some(Device::Cuda(vec![0, 1])),
        exact: Some(Switch::Off),
        noexec: true,
        ..Flags::default()
    };
    let config = Config::resolve(&odd("/a"), &odd("/m"), &flags, &machine()).expect("resolve");
    let bytes = config.to_bytes().expect("bytes");
    assert_eq!(Config::from_bytes(&bytes).as_ref(), Ok(&config));
    assert!(Config::from_bytes(&bytes[..bytes.len() / 2]).is_err());
}
