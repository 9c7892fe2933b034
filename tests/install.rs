//! The Debian package: built, installed into a clean root, mounted there from fstab, used, purged; and
//! under a systemd that is booted there.
//!
//! Takes root, cargo-deb (`.ci/deb tools`) and a root made by debootstrap, which is kept in target/.
//! Skips with a printed reason; DICOMFS_REQUIRE_INSTALL=1 makes that a failure,
//! but for the systemd, which not every container lets boot.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::{can_mount, expected_slab, skip};
use dicom_dictionary_std::uids;
use dicomfs::cli::demo::synthetic::Series;
use tempfile::TempDir;

const REQUIRED: &str = "DICOMFS_REQUIRE_INSTALL";

/// Kept from one run to the next; what is in it is in [`make_root`].
const CLEAN_ROOT: &str = "target/clean-root-2.tar";

/// Exit status of a script that has to be left out here.
const LEFT_OUT: i32 = 77;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What is missing on this machine.
fn missing(root: &Path) -> Option<String> {
    let has = |program: &str| {
        let mut shell = Command::new("sh");
        let found = shell.args(["-c", "command -v \"$0\"", program]);
        found.output().is_ok_and(|output| output.status.success())
    };
    if dicomfs::mount::effective_user().0 != 0 {
        return Some("it takes root".into());
    }
    if !here("target/tools/bin/cargo-deb").exists() {
        return Some("no cargo-deb (.ci/deb tools)".into());
    }
    let needed = ["dpkg-shlibdeps", "unshare", "setpriv", "pgrep", "python3"];
    if let Some(program) = needed.into_iter().find(|program| !has(program)) {
        return Some(format!(
            "no {program} (apt install dpkg-dev util-linux procps python3)"
        ));
    }
    if !root.exists() && !has("debootstrap") {
        return Some("no clean root (apt install debootstrap)".into());
    }
    None
}

/// Makes the clean root with the mirror that this machine's apt uses.
fn make_root(tarball: &Path) -> Result<(), String> {
    let script = r#"
        set -e
        read -r mirror suite <<END
$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' | head -1)
END
        root=$(mktemp -d)
        trap 'rm -rf "$root"' EXIT
        debootstrap --variant=minbase --include=fuse3,systemd "$suite" "$root" "$mirror" >&2
        rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
        tar -C "$root" -cf "$0.new" .
        mv "$0.new" "$0"
    "#;
    let made = Command::new("bash")
        .arg("-c")
        .arg(script)
        .arg(tarball)
        .output();
    let made = made.map_err(|why| why.to_string())?;
    match made.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&made.stderr).into_owned()),
    }
}

/// The profile that this test was built with, as cargo calls it.
fn profile() -> &'static str {
    let program = Path::new(env!("CARGO_BIN_EXE_dicomfs"));
    let directory = program.parent().and_then(Path::file_name);
    match directory.and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        _ => "release",
    }
}

/// Builds the package once for all tests, or says why not.
fn package() -> Result<&'static Path, &'static str> {
    static BUILT: OnceLock<Result<(TempDir, PathBuf), String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let root = here(CLEAN_ROOT);
        missing(&root).map_or(Ok(()), Err)?;
        if !root.exists() {
            make_root(&root)?;
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let package = dir.path().join("dicomfs.deb");
        let mut deb = Command::new(here(".ci/deb"));
        // It is not kept: little compression will do.
        let built = deb.arg(profile()).arg(&package).arg("--fast").output();
        let built = built.expect(".ci/deb runs");
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{said}");
        Ok((dir, package))
    });
    built
        .as_ref()
        .map(|(_, package)| package.as_path())
        .map_err(String::as_str)
}

/// Runs a script in namespaces of its own; its exit status, or the reason to skip has been printed.
fn run(test: &str, script: &str) -> Option<i32> {
    if !can_mount(test) {
        return None;
    }
    let package = match package() {
        Ok(package) => package,
        Err(why) => {
            skip(test, why.lines().last().unwrap_or_default(), REQUIRED);
            return None;
        }
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (archive, expected) = (dir.path().join("archive"), dir.path().join("expected"));
    fs::create_dir(&expected).expect("mkdir");
    for series in [
        Series::ct("2.25.51", uids::EXPLICIT_VR_LITTLE_ENDIAN, [12, 64, 48]),
        Series::mr("2.25.52", uids::RLE_LOSSLESS, [12, 64, 48]),
    ] {
        series.write(&archive.join(&series.uid)).expect("written");
        fs::write(expected.join(&series.uid), expected_slab(&series)).expect("written");
    }
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--pid", "--fork"])
        .args(["--mount-proc", "--kill-child", "bash"])
        .arg(here(script))
        .args([here(CLEAN_ROOT).as_path(), package, dir.path()])
        .output()
        .expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    let status = output.status.code();
    assert!(matches!(status, Some(0 | LEFT_OUT)), "{said}\n{errors}");
    if status == Some(LEFT_OUT) {
        let why = errors.lines().last().unwrap_or_default();
        skip(test, why, "DICOMFS_REQUIRE_SYSTEMD");
    }
    status
}

#[test]
fn the_package_is_installed_used_and_purged() {
    let script = "tests/install/clean_root.sh";
    let status = run("the_package_is_installed_used_and_purged", script);
    assert_ne!(status, Some(LEFT_OUT));
}

#[test]
fn systemd_runs_the_hardened_service() {
    run(
        "systemd_runs_the_hardened_service",
        "tests/install/systemd.sh",
    );
}

#[test]
fn the_package_takes_all_that_is_to_be_installed() {
    let manifest = fs::read_to_string(here("Cargo.toml")).expect("Cargo.toml");
    let files = ["systemd", "systemd/examples"].map(|dir| fs::read_dir(here(dir)).expect(dir));
    for file in files.into_iter().flatten() {
        let path = file.expect("a file").path();
        if path.is_file()
            && path
                .parent()
                .is_some_and(|parent| parent.ends_with("systemd"))
        {
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let named = manifest.contains(&format!("\"systemd/{name}\""));
            assert!(named, "{name} is in no asset of the package");
        }
    }
    assert!(manifest.contains("\"systemd/examples/*\""));
}
