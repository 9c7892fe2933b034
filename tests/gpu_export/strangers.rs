//! What other users get, and what is said of patients.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use dicomfs::ipc;

use super::{Bench, NAME, document, has_python, memory, text};
use crate::common::{self, skip};

#[test]
fn another_user_shares_nothing_and_gets_nothing() {
    let test = "another_user_shares_nothing_and_gets_nothing";
    if !has_python(test) {
        return;
    }
    if ipc::process::own_uid() != 0 {
        return skip(test, "not root", "DICOMFS_REQUIRE_ROOT");
    }
    let Some(bench) = Bench::new(test, "", &["--allow-other"]) else {
        return;
    };
    let path = bench.mount.dir.path();
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    let file = bench.open(2);
    let document = document(&file).expect("resident");
    // As nobody: with the token of root, without one, and with its own.
    let script = "
import json, os, socket, sys, time
def show(path, token):
    with socket.socket(socket.AF_UNIX) as door:
        door.connect(path)
        door.sendall(token.encode() + b'\\n')
        return socket.recv_fds(door, 1, 1)[:2]
os.setgid(65534)
os.setuid(65534)
root = json.loads(sys.argv[1])['handle']
assert show(root['socket'], root['token']) == (b'-', [])
assert show(root['socket'], '') == (b'-', [])
with open(sys.argv[2]) as file:
    mine = json.load(file)['handle']
    assert mine['socket'] == root['socket'] and mine['token'] != root['token']
    answer, fds = show(mine['socket'], mine['token'])
    assert answer == b'+' and len(fds) == 1
    os.pwrite(fds[0], b'mine', 0)
# The kernel says that a file is closed after close() has returned.
until = time.monotonic() + 60
while show(mine['socket'], mine['token']) != (b'-', []):
    assert time.monotonic() < until, 'a lease outlives its file'
    time.sleep(0.01)
try:
    os.listdir(os.path.dirname(root['socket']))
    sys.exit('listed')
except PermissionError:
    pass
";
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(document.to_string())
        .arg(bench.dir(2).join(NAME))
        .output()
        .expect("python3 runs");
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(bench.residents("count"), 2, "one a user");
    let raw = fs::read(bench.dir(2).join("volume.raw")).expect("read");
    assert!(memory(&document) == raw, "what nobody wrote is nobody's");
}

#[test]
fn a_de_identified_mount_names_nobody_on_the_device_either() {
    let test = "a_de_identified_mount_names_nobody_on_the_device_either";
    let dir = tempfile::tempdir().expect("a temporary directory");
    let key = dir.path().join("key");
    let made = common::program()
        .args(["generate", "deid-key"])
        .arg(&key)
        .status();
    assert!(made.expect("the program runs").success());
    let key = format!("--deid-key={}", key.display());
    let Some(bench) = Bench::new(test, "", &["--deid=basic", &key]) else {
        return;
    };
    let shown = fs::read_dir(bench.mount.root.join("series")).expect("series");
    let dirs: Vec<PathBuf> = shown.map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(dirs.len(), bench.all.len());
    for dir in dirs {
        let file = File::open(dir.join(NAME)).expect("opened");
        let document = document(&file).expect("resident");
        assert!(!document.to_string().contains("2.25.91"), "{document}");
        let name = dir.file_name().expect("a name").to_string_lossy();
        assert_eq!(document["series_instance_uid"], *name);
        assert!(memory(&document) == fs::read(dir.join("volume.raw")).expect("read"));
    }
}
