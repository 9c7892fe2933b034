//! The data of `sys.rs` against NVIDIA's header, where its wheel is at hand, and what needs no library;
//! the library itself, faked, is loaded in `tests/gpu_cufile.rs`.

use std::mem::{align_of, offset_of, size_of};

use super::super::testing::header::{self, Wheel};
use super::sys::{CUDA_DRIVER_ERROR, DRIVER_ALREADY_OPEN, Descr, Functions, OPAQUE_FD, Status};
use super::{check, meaning, version_text};

#[test]
fn data_is_laid_out_as_in_the_header() {
    let test = "cufile data_is_laid_out_as_in_the_header";
    let wheel = Wheel {
        package: "nvidia-cufile-cu12",
        folder: "cufile",
        header: "cufile.h",
    };
    let Some(include) = wheel.include_dir(test) else {
        return;
    };
    let expectations = [
        ("sizeof(CUfileError_t)", size_of::<Status>()),
        ("offsetof(CUfileError_t, err)", offset_of!(Status, err)),
        (
            "offsetof(CUfileError_t, cu_err)",
            offset_of!(Status, cu_err),
        ),
        ("sizeof(CUfileDescr_t)", size_of::<Descr>()),
        ("_Alignof(CUfileDescr_t)", align_of::<Descr>()),
        ("offsetof(CUfileDescr_t, type)", offset_of!(Descr, kind)),
        ("offsetof(CUfileDescr_t, handle)", offset_of!(Descr, handle)),
        ("offsetof(CUfileDescr_t, fs_ops)", offset_of!(Descr, fs_ops)),
        ("sizeof(off_t)", size_of::<i64>()),
        ("CU_FILE_HANDLE_TYPE_OPAQUE_FD", OPAQUE_FD as usize),
        ("CU_FILE_CUDA_DRIVER_ERROR", CUDA_DRIVER_ERROR as usize),
        ("CU_FILE_DRIVER_ALREADY_OPEN", DRIVER_ALREADY_OPEN as usize),
        ("CU_FILE_IO_NOT_SUPPORTED", 5008),
        ("CU_FILE_DIO_NOT_SET", 5020),
        ("CU_FILE_PERMISSION_DENIED", 5025),
        ("CU_FILE_HANDLE_ALREADY_REGISTERED", 5028),
        ("CU_FILE_GETNEWFD_FAILED", 5031),
        ("CU_FILE_NVFS_SETUP_ERROR", 5033),
        ("CU_FILE_IO_DISABLED", 5034),
        ("CU_FILE_GPU_MEMORY_PINNING_FAILED", 5036),
    ];
    // The header takes these two from CUDA's, which is not at hand.
    let cuda = "typedef int CUresult;\ntypedef void *CUstream;\n";
    let start = "#define _GNU_SOURCE\n#include <sys/types.h>\n#include <time.h>\n";
    header::agrees(
        &include,
        &format!("{start}#include <cufile.h>\n#undef cuFileDriverClose\n"),
        &[("cuda.h", cuda)],
        &expectations.map(|(text, value)| (text.to_string(), value)),
        Functions::SIGNATURES,
    );
}

#[test]
fn versions_and_failures_in_words() {
    assert_eq!(version_text(1140), "1.14.0");
    assert_eq!(version_text(1201), "1.20.1");
    let status = |err, cu_err| Status { err, cu_err };
    assert_eq!(check("f", status(0, 999)), Ok(()));
    assert_eq!(
        check("f", status(CUDA_DRIVER_ERROR, 700)),
        Err("f: CUDA error 700".into())
    );
    for (err, words) in [
        (5020, "O_DIRECT"),
        (-5025, "permission"),
        (5031, "anew"),
        (7, "status 7"),
        (i32::MIN, "status"),
    ] {
        let why = check("f", status(err, 0)).unwrap_err();
        assert!(why.contains(words), "{err}: {why}");
    }
    assert_eq!(meaning(5008).matches("5008").count(), 1);
}
