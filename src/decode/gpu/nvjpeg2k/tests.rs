//! The data of `sys.rs` against NVIDIA's header, where its wheel is at hand; the library itself is
//! loaded in `tests/gpu_jpeg2k.rs`.

use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::sys::{ComponentInfo, FORMAT_PLANAR, Functions, INT16, Image, ImageInfo, UINT8, UINT16};

/// Folder of nvjpeg2k.h in the tests' Python; else why the test is left out was printed.
fn include_dir() -> Option<PathBuf> {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/lib");
    let pythons = std::fs::read_dir(lib).into_iter().flatten().flatten();
    let dir = pythons
        .map(|python| python.path().join("site-packages/nvidia/nvjpeg2k/include"))
        .find(|dir| dir.join("nvjpeg2k.h").is_file());
    if dir.is_none() {
        let why = "no nvidia-nvjpeg2k-cu12 in target/venv (pip install)";
        let required = std::env::var("DICOMFS_REQUIRE_CLIENTS").as_deref() == Ok("1");
        assert!(!required, "{why}");
        eprintln!("SKIPPED data_is_laid_out_as_in_the_header: {why}");
    }
    dir
}

/// Expressions of C and the numbers that they must be.
fn expectations() -> Vec<(String, usize)> {
    let mut all = Vec::new();
    macro_rules! structure {
        ($c:literal, $rust:ty, $($field:ident),*) => {
            all.push((format!("sizeof({})", $c), size_of::<$rust>()));
            $(all.push((
                format!("offsetof({}, {})", $c, stringify!($field)),
                offset_of!($rust, $field),
            ));)*
        };
    }
    structure!(
        "nvjpeg2kImageInfo_t",
        ImageInfo,
        image_width,
        image_height,
        tile_width,
        tile_height,
        num_tiles_x,
        num_tiles_y,
        num_components
    );
    structure!(
        "nvjpeg2kImageComponentInfo_t",
        ComponentInfo,
        component_width,
        component_height,
        precision,
        sgn
    );
    structure!(
        "nvjpeg2kImage_t",
        Image,
        pixel_data,
        pitch_in_bytes,
        pixel_type,
        num_components
    );
    let constants = [
        ("NVJPEG2K_FORMAT_PLANAR", FORMAT_PLANAR),
        ("NVJPEG2K_UINT8", UINT8),
        ("NVJPEG2K_UINT16", UINT16),
        ("NVJPEG2K_INT16", INT16),
        ("NVJPEG2K_STATUS_SUCCESS", 0),
        ("NVJPEG2K_STATUS_BAD_JPEG", 3),
        ("NVJPEG2K_STATUS_JPEG_NOT_SUPPORTED", 4),
        ("NVJPEG2K_STATUS_ALLOCATOR_FAILURE", 5),
        ("NVJPEG2K_STATUS_EXECUTION_FAILED", 6),
        ("NVJPEG2K_STATUS_ARCH_MISMATCH", 7),
        ("NVJPEG2K_STATUS_INTERNAL_ERROR", 8),
    ];
    all.extend(constants.map(|(name, value)| (name.to_string(), value as usize)));
    all.push((
        "sizeof(nvjpeg2kStatus_t)".into(),
        size_of::<super::sys::Status>(),
    ));
    all
}

/// An argument of this type, in C.
fn in_c(rust: &str) -> &'static str {
    match rust {
        "c_int" | "i32" => "1",
        "u32" => "1u",
        "usize" => "(size_t)1",
        pointer if pointer == "Opaque" || pointer.starts_with('*') => "pointer",
        other => panic!("{other}"),
    }
}

#[test]
fn data_is_laid_out_as_in_the_header() {
    let Some(include) = include_dir() else {
        return;
    };
    let mut source = String::from("#include <stddef.h>\n#include <nvjpeg2k.h>\n");
    for (expression, wanted) in expectations() {
        let line = format!("_Static_assert({expression} == {wanted}, \"{expression}\");\n");
        source.push_str(&line);
    }
    // Each function, called with as many arguments as here, pointers where pointers are.
    source.push_str("void calls(void *pointer) {\n");
    for (name, arguments) in Functions::SIGNATURES {
        let arguments: Vec<&str> = arguments.iter().map(|rust| in_c(rust)).collect();
        source.push_str(&format!("    {name}({});\n", arguments.join(", ")));
    }
    source.push_str("}\n");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("layout.c");
    std::fs::write(&file, source).unwrap();
    let output = Command::new("cc")
        .args(["-std=c11", "-fsyntax-only", "-Werror=int-conversion"])
        .arg("-D_NVJPEG2K_DISABLE_CUDA_TOOLKIT_HEADERS")
        .arg("-I")
        .arg(include)
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
