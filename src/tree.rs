//! The tree: names and inode numbers to things, and back.
//!
//! A [`Tree`] is one immutable generation: made of cards, replaced as a whole. What lies below a
//! volume's directory is known from the volume, which the library loads when it is asked for. Inode
//! numbers are a function of identity alone, so they are the same after a remount. Knows what is
//! listed and what it is called; knows nothing of open files, and touches no source.

mod contents;
mod generation;
mod ino;
mod name;
mod part;
mod shown;
mod stale;
mod variant;
mod views;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

pub use name::safe;
pub use part::{Part, Text};
pub use shown::show;
pub use stale::Stale;
pub use variant::{ArrayFile, ArrayFormat};

use crate::library::{Card, Error, Holdings, Library, Series, Volumes};
use crate::volume::Volume;
use contents::Contents;
use views::Views;

/// A thing in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// `/`
    Root,
    /// `/series`
    Series,
    /// `/index.csv` or `/index.jsonl`
    Index(IndexFile),
    /// `/.dicomfs`
    Control,
    /// A file in `/.dicomfs`
    ControlFile(ControlFile),
    /// `/studies`, `/patients` and the directories and links under them, by inode number.
    View(u64),
    /// `/series/<name>`, by position among all volumes of the generation, which are by name.
    Volume(u32),
    /// Something below a volume's directory.
    Part(u32, Part),
}

/// The tables at the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexFile {
    /// `index.csv`
    Csv,
    /// `index.jsonl`
    Jsonl,
}

const INDEX_FILES: [IndexFile; 2] = [IndexFile::Csv, IndexFile::Jsonl];

/// The files in `/.dicomfs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlFile {
    /// `version`
    Version,
    /// `config.json`
    Config,
    /// `stats.json`
    Stats,
    /// `findings.jsonl`
    Findings,
    /// `metrics.prom`
    Metrics,
}

const CONTROL_FILES: [(ControlFile, &str); 5] = [
    (ControlFile::Version, "version"),
    (ControlFile::Config, "config.json"),
    (ControlFile::Stats, "stats.json"),
    (ControlFile::Findings, "findings.jsonl"),
    (ControlFile::Metrics, "metrics.prom"),
];

/// What readdir lists of the root; `.dicomfs` opens but is not listed.
const ROOT: [(&str, Node); 5] = [
    ("series", Node::Series),
    ("studies", Node::View(ino::STUDIES)),
    ("patients", Node::View(ino::PATIENTS)),
    ("index.csv", Node::Index(IndexFile::Csv)),
    ("index.jsonl", Node::Index(IndexFile::Jsonl)),
];

/// One generation of the tree.
pub struct Tree {
    library: Arc<Library>,
    holdings: Holdings,
    /// By name.
    entries: Vec<Entry>,
    by_key: HashMap<u64, u32>,
    views: Views,
    index_csv: Lazy,
    index_jsonl: Lazy,
    /// Inode numbers of the two.
    index_inos: [u64; 2],
    findings: Lazy,
    finding_counts: OnceLock<BTreeMap<&'static str, u64>>,
    total_bytes: u64,
    node_count: u64,
    built: SystemTime,
    is_passing: bool,
    serial: u64,
}

/// A volume's directory.
struct Entry {
    series: Arc<Series>,
    /// Which of the series' cards.
    at: u32,
    /// Its part of inode numbers.
    key: u64,
}

impl Entry {
    fn card(&self) -> &Card {
        &self.series.cards[self.at as usize]
    }
}

/// A text whose length is known before it is made.
struct Lazy {
    len_bytes: u64,
    text: OnceLock<Arc<[u8]>>,
}

/// A volume in memory, for as long as this lives.
struct Held {
    volumes: Volumes,
    at: usize,
}

impl Held {
    fn contents(&self) -> Contents<'_> {
        Contents(&self.volumes[self.at])
    }
}

impl Tree {
    /// The library that the generation was made from.
    pub fn library(&self) -> &Arc<Library> {
        &self.library
    }

    /// The volume at a position.
    ///
    /// # Errors
    /// When it cannot be loaded, or is another one by now.
    pub fn volume(&self, position: u32) -> Result<Option<Arc<Volume>>, Error> {
        let held = self.held(position)?;
        Ok(held.map(|held| held.contents().0.volume.clone()))
    }

    /// The path of something below the directory of the volume at a position.
    ///
    /// # Errors
    /// When the volume cannot be loaded.
    pub fn path_in_volume(&self, position: u32, part: Part) -> Result<Option<String>, Error> {
        let held = self.held(position)?;
        Ok(held.map(|held| held.contents().path(part)))
    }

    /// Is there a volume of this name and digest?
    pub fn has_version(&self, name: &str, fingerprint: &[u8; 32]) -> bool {
        let position = self.position(name);
        let entry = position.and_then(|position| self.entries.get(position as usize));
        entry.is_some_and(|entry| entry.card().fingerprint == *fingerprint)
    }

    /// Number of volumes.
    pub fn volume_count(&self) -> usize {
        self.entries.len()
    }

    /// Number of series.
    pub fn series_count(&self) -> usize {
        self.holdings.series.len()
    }

    /// Number of instances that are in a volume.
    pub fn instance_count(&self) -> u64 {
        let cards = self.entries.iter().map(Entry::card);
        cards.map(|card| card.shown.instances).sum()
    }

    /// Bytes that the arrays of all volumes have together.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// True while another generation is expected soon: names and numbers are not to be relied on
    /// for long.
    pub fn is_passing(&self) -> bool {
        self.is_passing
    }

    /// Tells generations apart that list other things.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The thing with this inode number.
    ///
    /// # Errors
    /// When the volume it belongs to cannot be loaded.
    pub fn node(&self, ino: u64) -> Result<Option<Node>, Error> {
        if let Some(node) = ino::fixed(ino) {
            return Ok(Some(node));
        }
        if self.views.contains(ino) {
            return Ok(Some(Node::View(ino)));
        }
        if let Some(table) = INDEX_FILES
            .into_iter()
            .find(|table| self.index_ino(*table) == ino)
        {
            return Ok(Some(Node::Index(table)));
        }
        let (key, local) = ino::split(ino);
        let (Some(&position), Some(part)) = (self.by_key.get(&key), ino::part(local)) else {
            return Ok(None);
        };
        let Some(part) = part else {
            return Ok(Some(Node::Volume(position)));
        };
        let held = self.held(position)?;
        let exists = held.is_some_and(|held| held.contents().has(part));
        Ok(exists.then_some(Node::Part(position, part)))
    }

    /// The inode number of a thing.
    pub fn ino(&self, node: Node) -> u64 {
        let key = |position: u32| self.entries[position as usize].key;
        match node {
            Node::View(ino) => ino,
            Node::Index(file) => self.index_ino(file),
            Node::Volume(position) => ino::join(key(position), 0),
            Node::Part(position, part) => ino::join(key(position), ino::local(part)),
            fixed => ino::of_fixed(fixed),
        }
    }

    /// The child of a directory by its name; also of names that open but are not listed.
    ///
    /// # Errors
    /// When the volume it belongs to cannot be loaded.
    pub fn child(&self, node: Node, name: &OsStr) -> Result<Option<Node>, Error> {
        let part_child = |position, directory| -> Result<Option<Node>, Error> {
            let (Some(name), Some(held)) = (name.to_str(), self.held(position)?) else {
                return Ok(None);
            };
            let part = held.contents().child(directory, name);
            Ok(part.map(|part| Node::Part(position, part)))
        };
        Ok(match node {
            Node::Root if name == ".dicomfs" => Some(Node::Control),
            Node::Root => ROOT.iter().find(|(n, _)| name == *n).map(|(_, node)| *node),
            Node::Series => name.to_str().and_then(|name| self.find(name)),
            Node::Control => {
                let found = CONTROL_FILES.iter().find(|(_, n)| name == *n);
                found.map(|found| Node::ControlFile(found.0))
            }
            Node::View(ino) => self.views.child(ino, name).map(Node::View),
            Node::Volume(position) => part_child(position, None)?,
            Node::Part(position, part) => part_child(position, Some(part))?,
            _ => None,
        })
    }

    /// The `n`th listed child of a directory, with its name. Constant time, so that a listing may
    /// stop and go on anywhere.
    ///
    /// # Errors
    /// When the volume it belongs to cannot be loaded.
    pub fn child_at(&self, node: Node, n: usize) -> Result<Option<(OsString, Node)>, Error> {
        let part_at = |position, directory| -> Result<Option<(OsString, Node)>, Error> {
            let held = self.held(position)?;
            let child = held.and_then(|held| held.contents().child_at(directory, n));
            Ok(child.map(|(name, part)| (name.into(), Node::Part(position, part))))
        };
        Ok(match node {
            Node::Root => ROOT.get(n).map(|(name, node)| ((*name).into(), *node)),
            Node::Series => self
                .entries
                .get(n)
                .map(|entry| ((&*entry.card().name).into(), Node::Volume(n as u32))),
            Node::Control => CONTROL_FILES
                .get(n)
                .map(|(file, name)| ((*name).into(), Node::ControlFile(*file))),
            Node::View(ino) => self
                .views
                .child_at(ino, n)
                .map(|(name, ino)| (name.into(), Node::View(ino))),
            Node::Volume(position) => part_at(position, None)?,
            Node::Part(position, part) => part_at(position, Some(part))?,
            _ => None,
        })
    }

    /// True for directories that generations may list differently; they list by name.
    pub fn is_growing(&self, node: Node) -> bool {
        matches!(node, Node::Series | Node::View(_))
    }

    /// Where a listing that has come to `name` goes on, for [`Tree::child_at`], whether there is
    /// such a child or not; only for a directory that is growing.
    pub fn position_after(&self, node: Node, name: &OsStr) -> usize {
        let name = name.to_string_lossy();
        match node {
            Node::Series => self
                .entries
                .partition_point(|entry| *entry.card().name <= *name),
            Node::View(ino) => self.views.position_after(ino, &name),
            _ => 0,
        }
    }

    /// The directory that holds a thing; the root holds itself.
    pub fn parent(&self, node: Node) -> Node {
        match node {
            Node::View(ino) => self.views.parent(ino).map_or(Node::Root, Node::View),
            Node::Volume(_) => Node::Series,
            Node::ControlFile(_) => Node::Control,
            Node::Part(position, part) => match part.parent() {
                Some(directory) => Node::Part(position, directory),
                None => Node::Volume(position),
            },
            _ => Node::Root,
        }
    }

    /// True for directories.
    pub fn is_directory(&self, node: Node) -> bool {
        match node {
            Node::Root | Node::Series | Node::Control | Node::Volume(_) => true,
            Node::View(ino) => self.views.link(ino).is_none(),
            Node::Part(_, part) => part.is_directory(),
            _ => false,
        }
    }

    /// Target of a symbolic link; `None` when it is none.
    pub fn link_target(&self, node: Node) -> Option<PathBuf> {
        let Node::View(ino) = node else { return None };
        let (depth, volume) = self.views.link(ino)?;
        let mut target: PathBuf = std::iter::repeat_n("..", depth).collect();
        target.push("series");
        target.push(volume);
        Some(target)
    }

    /// Size in bytes of a file, from headers alone; 0 for directories and for files made when
    /// they are opened (`.dicomfs`).
    ///
    /// # Errors
    /// When the volume it belongs to cannot be loaded.
    pub fn len_bytes(&self, node: Node) -> Result<u64, Error> {
        Ok(match node {
            Node::Index(IndexFile::Csv) => self.index_csv.len_bytes,
            Node::Index(IndexFile::Jsonl) => self.index_jsonl.len_bytes,
            Node::View(_) => self
                .link_target(node)
                .map_or(0, |target| target.as_os_str().len() as u64),
            Node::Part(position, part) => {
                let held = self.held(position)?;
                held.map_or(0, |held| held.contents().len_bytes(part))
            }
            _ => 0,
        })
    }

    /// Time of the newest source file behind a thing.
    pub fn mtime(&self, node: Node) -> SystemTime {
        let newest = match node {
            Node::Volume(position) | Node::Part(position, _) => {
                let entry = self.entries.get(position as usize);
                entry.and_then(|entry| entry.card().mtime())
            }
            _ => None,
        };
        newest.unwrap_or(self.built)
    }

    /// Number of inodes, for statfs.
    pub fn node_count(&self) -> u64 {
        self.node_count
    }

    fn index_ino(&self, file: IndexFile) -> u64 {
        self.index_inos[usize::from(file == IndexFile::Jsonl)]
    }

    fn find(&self, name: &str) -> Option<Node> {
        self.position(name).map(Node::Volume)
    }

    fn position(&self, name: &str) -> Option<u32> {
        let found = self
            .entries
            .binary_search_by(|entry| (*entry.card().name).cmp(name));
        found.ok().map(|position| position as u32)
    }

    fn held(&self, position: u32) -> Result<Option<Held>, Error> {
        let Some(entry) = self.entries.get(position as usize) else {
            return Ok(None);
        };
        let volumes = self.library.volumes(&entry.series)?;
        let at = entry.at as usize;
        // As many volumes as cards, by the library's word.
        Ok((at < volumes.len()).then_some(Held { volumes, at }))
    }
}
