//! Builds a shared library from one C++ file, once for each version of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compilers that are tried after `$CXX`.
const COMPILERS: [&str; 3] = ["c++", "g++", "clang++"];

/// How they are called.
const FLAGS: [&str; 8] = [
    "-std=c++17",
    "-O2",
    "-fPIC",
    "-shared",
    "-pthread",
    // A multiplication and an addition round each by itself, as in the kernels.
    "-ffp-contract=off",
    // A device faults at a word that is not aligned: so does this.
    "-fsanitize=alignment,shift,integer-divide-by-zero",
    "-fsanitize-undefined-trap-on-error",
];

/// 64-bit FNV-1a: names that change with what they name. Not for anything hostile.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The library `soname` made of `tests/fake_gpu/<source>`: `target/fake_gpu/<source>-<hash>/<soname>`.
///
/// Tests in other processes may build the same at the same time: each builds in a directory of its
/// own, and the first to finish gives it its name.
///
/// # Errors
/// There is no C++ compiler, or it refuses the source.
pub fn build(source: &str, soname: &str) -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("tests/fake_gpu").join(source);
    let mut text = fs::read(&path).map_err(|error| format!("{source}: {error}"))?;
    text.extend(FLAGS.concat().bytes());
    text.extend(soname.bytes());
    // What the sources include, or may.
    for kernels in ["kernels.cu", "lossless.cu"] {
        let path = root.join("src/decode/gpu").join(kernels);
        text.extend(fs::read(path).map_err(|error| format!("{kernels}: {error}"))?);
    }
    let all = root.join("target/fake_gpu");
    let home = all.join(format!("{source}-{:016x}", fnv1a(&text)));
    let library = home.join(soname);
    if library.is_file() {
        return Ok(library);
    }
    fs::create_dir_all(&all).map_err(|error| format!("target/fake_gpu: {error}"))?;
    let work = tempfile::tempdir_in(&all).map_err(|error| error.to_string())?;
    compile(&path, &work.path().join(soname), soname)?;
    if let Err(error) = fs::rename(work.path(), &home)
        && !library.is_file()
    {
        return Err(format!("{}: {error}", home.display()));
    }
    Ok(library)
}

fn compile(source: &Path, library: &Path, soname: &str) -> Result<(), String> {
    let mut said = String::from("no C++ compiler (g++ or clang++)");
    let named = std::env::var("CXX").ok();
    for compiler in named.iter().map(String::as_str).chain(COMPILERS) {
        let output = Command::new(compiler)
            .args(FLAGS)
            .arg(format!("-Wl,-soname,{soname}"))
            .arg("-o")
            .arg(library)
            .arg(source)
            .arg("-ldl")
            .output();
        match output {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                said = format!("{compiler}: {}", String::from_utf8_lossy(&output.stderr));
            }
            Err(_) => {}
        }
    }
    Err(said)
}
