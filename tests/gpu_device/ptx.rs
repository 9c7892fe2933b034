//! `kernels.ptx` is, byte for byte, what NVRTC 12.0.140 makes of `kernels.cu`.

use std::path::Path;
use std::process::Command;

use crate::common;

#[test]
fn the_ptx_is_what_the_compiler_makes_of_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let venv = root.join("target/venv/bin/python");
    let python = if venv.is_file() {
        venv
    } else {
        "python3".into()
    };
    let checked = Command::new(python)
        .arg(root.join("src/decode/gpu/build_ptx.py"))
        .arg("--check")
        .output();
    let skip = |why: &str| {
        common::skip(
            "the_ptx_is_what_the_compiler_makes_of_the_source",
            why,
            "DICOMFS_REQUIRE_CLIENTS",
        );
    };
    let Ok(output) = checked else {
        return skip("there is no Python");
    };
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    // 3: there is no such compiler here.
    if output.status.code() == Some(3) {
        return skip(said.trim());
    }
    assert!(output.status.success(), "{said}");
}
