//! A configuration as bytes, for another process of this program to have the same.
//!
//! Not a format that is kept: both processes are the same build.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Config;

impl Config {
    /// The configuration as bytes.
    ///
    /// # Errors
    ///
    /// None that a configuration could cause.
    pub fn to_bytes(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }

    /// The configuration that [`Config::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// Any other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Config, postcard::Error> {
        postcard::from_bytes(bytes)
    }
}

/// `#[serde(with)]` for paths: serde's own form refuses those that are not UTF-8.
pub mod path {
    use super::*;

    /// Writes the bytes.
    pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().as_bytes().serialize(serializer)
    }

    /// Reads the bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        Ok(OsString::from_vec(bytes).into())
    }
}
