//! Device memory that holds whole arrays and is given to other processes: the process of a device on
//! the libcuda of the tests, asked as a mount asks it, and this process as the one that maps the memory.

mod common;
#[path = "fake_gpu/mod.rs"]
mod fake_gpu;

#[allow(dead_code)]
#[path = "gpu_device/cases.rs"]
mod cases;
#[path = "gpu_resident/direct.rs"]
mod direct;
#[path = "gpu_resident/faults.rs"]
mod faults;
#[path = "gpu_resident/host.rs"]
mod host;
#[path = "gpu_resident/memory.rs"]
mod memory;
