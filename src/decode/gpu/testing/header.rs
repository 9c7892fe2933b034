//! Our declarations of a library's data and functions against NVIDIA's own header, where the wheel
//! with it is in the tests' Python: a C compiler is the judge.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A wheel with a header.
pub struct Wheel {
    pub package: &'static str,
    /// Below `site-packages/nvidia`.
    pub folder: &'static str,
    pub header: &'static str,
}

impl Wheel {
    /// Folder of the header in the tests' Python; else why the test is left out was printed.
    pub fn include_dir(&self, test: &str) -> Option<PathBuf> {
        let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/lib");
        let pythons = std::fs::read_dir(lib).into_iter().flatten().flatten();
        let folder = format!("site-packages/nvidia/{}/include", self.folder);
        let dir = pythons
            .map(|python| python.path().join(&folder))
            .find(|dir| dir.join(self.header).is_file());
        if dir.is_none() {
            let why = format!("no {} in target/venv (pip install)", self.package);
            let required = std::env::var("DICOMFS_REQUIRE_CLIENTS").as_deref() == Ok("1");
            assert!(!required, "{why}");
            eprintln!("SKIPPED {test}: {why}");
        }
        dir
    }
}

/// An argument of this type, in C.
fn in_c(rust: &str) -> &'static str {
    match rust {
        "c_int" | "i32" | "i64" => "1",
        "u32" | "c_uint" => "1u",
        "usize" => "(size_t)1",
        pointer if ["Opaque", "Handle"].contains(&pointer) || pointer.starts_with('*') => "pointer",
        other => panic!("{other}"),
    }
}

/// Has a C compiler see that each expression has its value, and that each function can be called with
/// as many arguments as here, pointers where pointers are. `includes` begins the program; `stubs` are
/// files that the header includes and the wheel has not.
pub fn agrees(
    include: &Path,
    includes: &str,
    stubs: &[(&str, &str)],
    expectations: &[(String, usize)],
    signatures: &[(&str, &[&str])],
) {
    let mut source = format!("#include <stddef.h>\n{includes}");
    for (expression, wanted) in expectations {
        let line = format!("_Static_assert({expression} == {wanted}, \"{expression}\");\n");
        source.push_str(&line);
    }
    source.push_str("void calls(void *pointer) {\n");
    for (name, arguments) in signatures {
        let arguments: Vec<&str> = arguments.iter().map(|rust| in_c(rust)).collect();
        source.push_str(&format!("    {name}({});\n", arguments.join(", ")));
    }
    source.push_str("}\n");
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in stubs {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let file = dir.path().join("layout.c");
    std::fs::write(&file, source).unwrap();
    let output = Command::new("cc")
        .args(["-std=c11", "-fsyntax-only", "-Werror=int-conversion"])
        .arg("-Werror=implicit-function-declaration")
        .arg("-I")
        .arg(include)
        .arg("-I")
        .arg(dir.path())
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
