//! What the library's status numbers mean (<https://docs.nvidia.com/cuda/nvjpeg/>, "API Return
//! Codes").

use std::fmt;

use super::sys::Status;

/// A call that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// Which function, without the prefix of the library.
    pub call: &'static str,
    status: Status,
}

const BAD_JPEG: Status = 3;
const JPEG_NOT_SUPPORTED: Status = 4;
const EXECUTION_FAILED: Status = 6;
const ARCH_MISMATCH: Status = 7;
const INTERNAL_ERROR: Status = 8;
const INCOMPLETE_BITSTREAM: Status = 10;

impl Failure {
    /// The picture is broken, or uses what the library cannot do.
    pub fn is_of_the_picture(self) -> bool {
        matches!(
            self.status,
            BAD_JPEG | JPEG_NOT_SUPPORTED | INCOMPLETE_BITSTREAM
        )
    }

    /// The device or the library's hold on it is gone: of no later call a right answer can be
    /// expected. True only of calls that use the device; reading headers does not.
    pub fn is_of_the_device(self) -> bool {
        matches!(
            self.status,
            EXECUTION_FAILED | ARCH_MISMATCH | INTERNAL_ERROR
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.status {
            1 => "not initialised",
            2 => "an invalid parameter",
            BAD_JPEG => "a broken picture",
            JPEG_NOT_SUPPORTED => "a picture that it does not support",
            5 => "an allocation failed",
            EXECUTION_FAILED => "execution on the device failed",
            ARCH_MISMATCH => "the device cannot do it",
            INTERNAL_ERROR => "an internal error",
            9 => "not implemented",
            INCOMPLETE_BITSTREAM => "a picture that is cut short",
            other => return write!(f, "nvJPEG {}: status {other}", self.call),
        };
        write!(f, "nvJPEG {}: {what}", self.call)
    }
}

/// `Ok` for status 0.
pub(super) fn check(call: &'static str, status: Status) -> Result<(), Failure> {
    match status {
        0 => Ok(()),
        status => Err(Failure { call, status }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_kind() {
        assert_eq!(check("Decode", 0), Ok(()));
        let kinds = |status| {
            let failure = check("Decode", status).unwrap_err();
            (failure.is_of_the_picture(), failure.is_of_the_device())
        };
        for status in [3, 4, 10] {
            assert_eq!(kinds(status), (true, false));
        }
        for status in [6, 7, 8] {
            assert_eq!(kinds(status), (false, true));
        }
        for status in [-1, 1, 2, 5, 9, 11, 1 << 20] {
            assert_eq!(kinds(status), (false, false));
        }
        let text = check("DecodeBatched", 77).unwrap_err().to_string();
        assert_eq!(text, "nvJPEG DecodeBatched: status 77");
    }
}
