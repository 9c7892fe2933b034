//! The command line as users write it: parsing, exit statuses, the helper.

use super::*;

fn parse(line: &str) -> Result<Cli, Error> {
    let args = line.split(' ').map(OsString::from).collect();
    Ok(super::parse(args)?.cli)
}

fn flags(line: &str) -> Flags {
    match parse(line).expect(line).command {
        Command::Mount(args) => args.flags,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn what_the_scan_finds_keeps_its_code() {
    for code in crate::archive::scan::FILE_CODES {
        assert_eq!(crate::volume::finding::known_code(code), code);
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn options_and_flags_mean_the_same() {
    let cases = [
        ("-o cache_size=1G", "--cache-size=1G"),
        ("-o umask=077,noexec", "--umask 077 --noexec"),
        (
            "-o log_level=debug,index=/i",
            "--log-level debug --index=/i",
        ),
        (
            "-o decode_threads=4,readahead_frames=9",
            "--decode-threads=4 --readahead-frames=9",
        ),
        ("-o device=cpu,foreground", "--device=cpu -f"),
        (
            "-o device=cuda:0+1,exact=off",
            "--device=cuda:0,1 --exact=off",
        ),
        (
            "-o device=cuda:0\\,1,exact=on",
            "--device cuda:0+1 --exact on",
        ),
        (
            "-o watch=poll,settle=3,deid=basic,deid_key=/k,audit=/a,cache_dir=/c",
            "--watch=poll --settle 3 --deid=basic --deid-key=/k --audit=/a --cache-dir=/c",
        ),
    ];
    for (options, long) in cases {
        assert_eq!(
            flags(&format!("dicomfs mount /a /m {options}")),
            flags(&format!("dicomfs mount /a /m {long}")),
            "{options}"
        );
    }
}

#[test]
fn the_last_one_counts() {
    assert_eq!(flags("dicomfs mount /a /m -o uid=1,uid=2").uid, Some(2));
    assert_eq!(flags("dicomfs mount --uid=3 /a /m -o uid=1").uid, Some(1));
    assert_eq!(flags("dicomfs mount -o uid=1 /a /m --uid=3").uid, Some(3));
    assert!(!flags("dicomfs mount /a /m -o noexec,exec").noexec);
    assert!(flags("dicomfs mount -o exec /a /m -o noexec").noexec);
    assert!(flags("dicomfs mount -o allow_other /a /m --allow-other").allow_other);
}

#[test]
fn names_may_look_like_flags_after_two_hyphens() {
    let cli = parse("dicomfs mount -- -a -o").expect("parse");
    let Command::Mount(args) = cli.command else {
        panic!("not mount");
    };
    assert_eq!(args.source, Path::new("-a"));
    assert_eq!(args.mountpoint, Path::new("-o"));
}

#[test]
fn exit_statuses() {
    let exit = |line: &str| main(line.split(' ').map(OsString::from).collect());
    let cases = [
        ("dicomfs", Exit::Usage),
        ("dicomfs nonsense", Exit::Usage),
        ("dicomfs mount /a", Exit::Usage),
        ("dicomfs mount /a /m -o nonsense", Exit::Usage),
        ("dicomfs mount /a /m -o umask=9", Exit::Usage),
        ("dicomfs mount /a /m -o watch=maybe", Exit::Usage),
        ("dicomfs mount /a /m -o watch_interval=0", Exit::Usage),
        ("dicomfs mount /a /m --device=gpu", Exit::Usage),
        ("dicomfs mount /a /m -o device=cuda:0,1", Exit::Usage),
        ("dicomfs mount /a /m --exact=maybe", Exit::Usage),
        (
            "dicomfs mount /no/such/archive /no/such/place",
            Exit::Failure,
        ),
        ("mount.dicomfs /a", Exit::Usage),
        ("/sbin/mount.dicomfs /a /m -o remount,ro", Exit::Failure),
        ("/sbin/mount.dicomfs /a /m -f -o rw,_netdev", Exit::Success),
        ("/sbin/mount.fuse.dicomfs /a /m -fo deid", Exit::Usage),
        ("/sbin/mount.fuse.dicomfs /a /m -fo deid=basic", Exit::Usage),
        (
            "mount.dicomfs /no/such/archive /no/such/place",
            Exit::Failure,
        ),
        ("dicomfs --version", Exit::Success),
        ("dicomfs mount --help", Exit::Success),
        ("dicomfs generate man", Exit::Success),
    ];
    for (line, expected) in cases {
        assert_eq!(exit(line), expected, "{line}");
    }
}
