//! Listings of directories, which may stop anywhere and go on when the tree has become another one.

use std::sync::PoisonError;

use super::{DirEntry, Error, Fs, known};
use crate::tree::{Node, Tree};

/// Offsets in directories that change from tree to tree: the position in the bits below this one, from
/// it on which tree the position is of. The highest bit stays free, since offsets are signed.
const LISTING_TAG_SHIFT: u32 = 40;
const LISTING_TAG_MAX: u64 = (1 << (63 - LISTING_TAG_SHIFT)) - 1;

impl Fs {
    /// Lists a directory from `offset` (0 = start) on, "." and ".." included. `add` returns true
    /// when its buffer is full: that entry was not taken and listing stops.
    ///
    /// # Errors
    /// [`Error::Absent`], or [`Error::NotDirectory`].
    pub fn readdir(
        &self,
        ino: u64,
        offset: u64,
        add: &mut dyn FnMut(&DirEntry) -> bool,
    ) -> Result<(), Error> {
        let tree = self.tree();
        let node = known(&tree, ino)?;
        if !tree.is_directory(node) {
            return Err(Error::NotDirectory);
        }
        let (tag, first) = self.listing_from(&tree, ino, node, offset)?;
        for at in first.. {
            let (name, child) = match at {
                0 => (".".into(), node),
                1 => ("..".into(), tree.parent(node)),
                _ => {
                    let position = usize::try_from(at - 2).map_err(|_| Error::Invalid)?;
                    match tree.child_at(node, position)? {
                        Some(found) => found,
                        None => break,
                    }
                }
            };
            let attr = self.attr(&tree, child)?;
            if add(&DirEntry {
                name,
                attr,
                next_offset: tag | (at + 1),
            }) {
                break;
            }
        }
        Ok(())
    }

    /// Where a listing goes on in this tree, and what marks the offsets given from here. One that
    /// began in the tree before goes on after the name it has come to, so that each name is listed
    /// once.
    fn listing_from(
        &self,
        tree: &Tree,
        ino: u64,
        node: Node,
        offset: u64,
    ) -> Result<(u64, u64), Error> {
        if !tree.is_growing(node) {
            return Ok((0, offset));
        }
        let tag = |tree: &Tree| (tree.serial() & LISTING_TAG_MAX) << LISTING_TAG_SHIFT;
        let at = offset & ((1 << LISTING_TAG_SHIFT) - 1);
        let resumed = offset - at;
        if at <= 2 || resumed == tag(tree) {
            return Ok((tag(tree), at));
        }
        let before = self.before.read().unwrap_or_else(PoisonError::into_inner);
        let before = before.clone().filter(|before| tag(before) == resumed);
        // Of a tree before that nothing is known: then as if it had listed the same.
        let Some(before) = before else {
            return Ok((tag(tree), at));
        };
        let position = usize::try_from(at - 3).map_err(|_| Error::Invalid)?;
        let last = match before.node(ino)? {
            Some(node) => before.child_at(node, position)?,
            None => None,
        };
        let after = last.map_or(0, |(name, _)| tree.position_after(node, &name));
        Ok((tag(tree), after as u64 + 2))
    }
}
