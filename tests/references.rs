//! Volumes that other software converted: the same voxels at the same world coordinates.

mod common;
#[path = "clients/venv.rs"]
mod venv;

#[test]
fn every_reference_nifti_has_its_volume() {
    venv::run_over_data("every_reference_nifti_has_its_volume", "references.py");
}
