//! A place that has files: a directory, or a container ([`super::members`]), opened.
//!
//! What a scan does with a place does not depend on which of the two it is. Knows nothing of DICOM
//! or the index.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::list::{self, Entries, State};
use super::members::unpack::Head;
use super::members::{Container, Member, Packing};
use super::part::Part;
use crate::dicom::ReadAt;

/// An open place.
#[derive(Debug)]
pub(super) enum Place {
    /// A directory.
    Directory {
        /// Open.
        opened: OwnedFd,
        /// The file system that it lies in, and whether files keep their numbers there.
        device: u64,
        numbers_last: bool,
    },
    /// A container.
    Container(Container),
}

/// A file of a place, opened.
pub(super) enum Found<'p> {
    /// In a directory.
    File(File),
    /// Stored in a container.
    Stored(Part<'p>),
    /// Packed in a container; only its beginning can be read.
    Packed(Box<Head<'p>>),
    /// In a container, and not readable for this reason.
    Unreadable(&'static str),
}

impl Place {
    /// Opens the place at `path` below `root`; an empty path is the root itself.
    pub(super) fn open(root: impl AsFd, path: &[u8]) -> io::Result<Place> {
        let opened = list::open_place(root.as_fd(), path)?;
        let mut state = list::state(&opened, b"")?;
        let numbers_last = list::numbers_last(&opened);
        if state.is_directory {
            return Ok(Place::Directory {
                device: state.file_id.0,
                opened,
                numbers_last,
            });
        }
        if !state.is_file {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if !numbers_last {
            state.identity.inode = 0;
        }
        Container::open(File::from(opened), state).map(Place::Container)
    }

    /// Does a file in it keep its number? One that a link leads to may lie elsewhere.
    pub(super) fn numbers_last(&self, file: &File, state: &State) -> bool {
        match self {
            Place::Directory {
                device,
                numbers_last,
                ..
            } if *device == state.file_id.0 => *numbers_last,
            _ => list::numbers_last(file),
        }
    }

    /// Its own state.
    pub(super) fn state(&self) -> io::Result<State> {
        match self {
            Place::Directory { opened, .. } => list::state(opened, b""),
            Place::Container(container) => Ok(container.state()),
        }
    }

    /// What is in it.
    pub(super) fn entries(&self) -> io::Result<Entries> {
        match self {
            Place::Directory { opened, .. } => list::entries(opened),
            Place::Container(container) => Ok(Entries {
                files: container
                    .names()
                    .map(|name| (name.clone(), false))
                    .collect(),
                ..Entries::default()
            }),
        }
    }

    /// The state of a file in it.
    pub(super) fn state_of(&self, name: &[u8]) -> io::Result<State> {
        match self {
            Place::Directory { opened, .. } => list::state(opened, name),
            Place::Container(container) => member_state(container, name).map(|(state, _)| state),
        }
    }

    /// Where a file lies in it, if it is a container.
    pub(super) fn member(&self, name: &[u8]) -> Option<Member> {
        match self {
            Place::Directory { .. } => None,
            Place::Container(container) => container.member(name).copied(),
        }
    }

    /// Opens a file in it; `quietly` as for [`list::open_file`].
    pub(super) fn open_file(
        &self,
        name: &[u8],
        quietly: &mut bool,
    ) -> io::Result<(Found<'_>, State)> {
        let container = match self {
            Place::Directory { opened, .. } => {
                let (file, state) = list::open_file(opened, name, quietly)?;
                return Ok((Found::File(file), state));
            }
            Place::Container(container) => container,
        };
        let (state, member) = member_state(container, name)?;
        let file = container.file();
        let found = match member.packing {
            Packing::Stored => Found::Stored(Part::new(file, member)),
            Packing::Deflated { .. } => Found::Packed(Box::new(Head::new(file, member))),
            Packing::Encrypted => Found::Unreadable("it is encrypted in its zip file"),
            Packing::Other => {
                Found::Unreadable("it is packed otherwise than by DEFLATE in its zip or tar file")
            }
        };
        Ok((found, state))
    }
}

impl Found<'_> {
    /// Its bytes.
    pub(super) fn bytes(&self) -> Result<&dyn ReadAt, &'static str> {
        match self {
            Found::File(file) => Ok(file),
            Found::Stored(part) => Ok(part),
            Found::Packed(head) => Ok(&**head),
            Found::Unreadable(why) => Err(why),
        }
    }
}

/// A member as if it were a file: with a number of its own, and the times and names of its container.
fn member_state<'c>(container: &'c Container, name: &[u8]) -> io::Result<(State, &'c Member)> {
    let member = container.member(name).ok_or(io::ErrorKind::NotFound)?;
    let of = container.state();
    let mut hasher = DefaultHasher::new();
    (of.file_id, name).hash(&mut hasher);
    let state = State {
        identity: member.identity(),
        file_id: (of.file_id.0, hasher.finish()),
        ..of
    };
    Ok((state, member))
}
