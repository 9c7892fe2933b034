//! Libraries that stand in for NVIDIA's where there is no GPU: C++ beside this file, built by the
//! tests that load them.

// Each test program uses a part of this.
#![allow(dead_code)]

pub mod build;
pub mod cufile;
pub mod libcuda;
pub mod nvjpeg;
pub mod nvjpeg2k;
