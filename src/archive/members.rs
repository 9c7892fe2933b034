//! Files inside zip and tar files: where each lies, so that it is read in place.
//!
//! A container is to the scan what a directory is: it has entries, and times that tell whether they
//! are still the same. Members that are stored are read by their offset; deflated ones are unpacked
//! in memory when they are read (`unpack.rs`). What is packed in another way, or encrypted, has a
//! finding. Containers within containers are not looked into.
//!
//! Knows nothing of DICOM or the index.

mod list;
mod pages;
pub(super) mod unpack;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::SourceIdentity;
use super::list::State;

/// A file in a container, for who opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// Path of the container relative to the archive's root; empty when it is the root.
    pub container: PathBuf,
    /// Where it lies in there.
    pub member: Member,
}

/// Where a file lies in its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The version of the container that this holds for.
    pub container: SourceIdentity,
    /// Where its bytes begin.
    pub offset_bytes: u64,
    /// How many there are in the container.
    pub packed_bytes: u64,
    /// How many there are of the file.
    pub len_bytes: u64,
    /// How they lie there.
    pub packing: Packing,
}

/// How the bytes of a member lie in its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Packing {
    /// As they are.
    Stored,
    /// By DEFLATE (RFC 1951).
    Deflated {
        /// Of the file's bytes.
        crc32: u32,
    },
    /// In a way that is not read.
    Other,
    /// Encrypted.
    Encrypted,
}

/// An open container and what is in it.
#[derive(Debug)]
pub(super) struct Container {
    file: File,
    state: State,
    /// By name, which is a plain relative path.
    members: BTreeMap<Vec<u8>, Member>,
}

impl Container {
    /// Lists the members of an open file.
    ///
    /// # Errors
    /// It is no container, breaks the format's rules, has more members than are looked at, or cannot
    /// be read.
    pub(super) fn open(file: File, state: State) -> io::Result<Container> {
        let members = list::members(&file, state.identity)?;
        Ok(Container {
            file,
            state,
            members,
        })
    }

    /// The container's own.
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Names of all members.
    pub(super) fn names(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.members.keys()
    }

    /// The member of this name.
    pub(super) fn member(&self, name: &[u8]) -> Option<&Member> {
        self.members.get(name)
    }

    /// The file that it is.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

impl Member {
    /// Size of the file, and the time of its container: there is no other that can be trusted.
    pub(super) fn identity(&self) -> SourceIdentity {
        SourceIdentity {
            size_bytes: self.len_bytes,
            mtime_ns: self.container.mtime_ns,
            // Its container has one, and that is compared.
            inode: 0,
        }
    }
}

/// May a file of this name be a container? Others are not looked into: reading the first bytes of
/// each file twice would cost a scan a tenth of its speed.
pub(super) fn is_named_so(name: &[u8]) -> bool {
    let ends = |suffix: &[u8]| {
        let at = name.len().checked_sub(suffix.len());
        at.is_some_and(|at| at > 0 && name[at..].eq_ignore_ascii_case(suffix))
    };
    ends(b".zip") || ends(b".tar")
}

pub(super) use list::is_container;
