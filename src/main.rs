//! The dicomfs program: hands its arguments to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    dicomfs::cli::main(std::env::args_os().collect()).into()
}
