//! The tree: names and inode numbers to things, and back (DESIGN 1.1).
//!
//! A [`Tree`] is one immutable generation: built from volumes, replaced as a whole. Inode numbers
//! are a function of identity alone, so they are the same after a remount. Knows what is listed
//! and what it is called; knows nothing of open files, and touches no source.

mod contents;
mod ino;
mod name;
mod part;
mod variant;
mod views;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

pub use name::{numbered, safe};
pub use part::{Part, Text};
pub use variant::{ArrayFile, ArrayFormat};

use crate::format;
use crate::volume::{Built, Volume};
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
    /// `/series/<name>`, by position in [`Tree::volumes`].
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
}

const CONTROL_FILES: [(ControlFile, &str); 4] = [
    (ControlFile::Version, "version"),
    (ControlFile::Config, "config.json"),
    (ControlFile::Stats, "stats.json"),
    (ControlFile::Findings, "findings.jsonl"),
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
    volumes: Vec<Contents>,
    by_name: HashMap<String, u32>,
    by_key: HashMap<u64, u32>,
    views: Views,
    index_csv: Arc<[u8]>,
    index_jsonl: Arc<[u8]>,
    findings: Vec<u8>,
    built: SystemTime,
}

impl Tree {
    /// The tree of an archive; `built` is the time shown for what has no source file.
    ///
    /// # Errors
    /// When a table cannot be written.
    pub fn new(archive: Built, built: SystemTime) -> Result<Tree, format::Error> {
        let mut volumes = archive.volumes;
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        let index_csv = format::table::index_csv(&volumes)?.into();
        let index_jsonl = format::table::index_jsonl(&volumes)?.into();
        let findings = format::table::findings_jsonl(&volumes, &archive.findings)?;
        let views = Views::new(&volumes);
        let mut by_key = HashMap::new();
        let mut by_name = HashMap::new();
        let mut nodes = Vec::with_capacity(volumes.len());
        for (position, volume) in (0_u32..).zip(volumes) {
            // Sorted by name, so that of two that collide the same one gives way at every mount.
            let key = ino::free_key(&volume.name, |key| by_key.contains_key(&key));
            by_key.insert(key, position);
            by_name.insert(volume.name.clone(), position);
            nodes.push(Contents::new(volume, key, built));
        }
        Ok(Tree {
            volumes: nodes,
            by_name,
            by_key,
            views,
            index_csv,
            index_jsonl,
            findings,
            built,
        })
    }

    /// The volume at a position.
    pub fn volume(&self, position: u32) -> Option<&Arc<Volume>> {
        self.volumes.get(position as usize).map(|node| &node.volume)
    }

    /// All volumes, by name.
    pub fn volumes(&self) -> impl Iterator<Item = &Arc<Volume>> {
        self.volumes.iter().map(|node| &node.volume)
    }

    /// The contents of an index table.
    pub fn index_table(&self, file: IndexFile) -> &Arc<[u8]> {
        match file {
            IndexFile::Csv => &self.index_csv,
            IndexFile::Jsonl => &self.index_jsonl,
        }
    }

    /// `findings.jsonl` as far as headers tell.
    pub fn findings(&self) -> &[u8] {
        &self.findings
    }

    /// The thing with this inode number.
    pub fn node(&self, ino: u64) -> Option<Node> {
        if let Some(node) = ino::fixed(ino) {
            return Some(node);
        }
        if self.views.contains(ino) {
            return Some(Node::View(ino));
        }
        let (key, local) = ino::split(ino);
        let position = *self.by_key.get(&key)?;
        let node = match ino::part(local)? {
            None => Node::Volume(position),
            Some(part) => Node::Part(position, part),
        };
        self.exists(node).then_some(node)
    }

    /// The inode number of a thing.
    pub fn ino(&self, node: Node) -> u64 {
        let key = |position: u32| self.volumes[position as usize].key;
        match node {
            Node::View(ino) => ino,
            Node::Volume(position) => ino::join(key(position), 0),
            Node::Part(position, part) => ino::join(key(position), ino::local(part)),
            fixed => ino::of_fixed(fixed),
        }
    }

    /// The child of a directory by its name; also of names that open but are not listed.
    pub fn child(&self, node: Node, name: &OsStr) -> Option<Node> {
        match node {
            Node::Root if name == ".dicomfs" => Some(Node::Control),
            Node::Root => ROOT.iter().find(|(n, _)| name == *n).map(|(_, node)| *node),
            Node::Series => self.by_name.get(name.to_str()?).map(|&p| Node::Volume(p)),
            Node::Control => {
                let found = CONTROL_FILES.iter().find(|(_, n)| name == *n)?;
                Some(Node::ControlFile(found.0))
            }
            Node::View(ino) => self.views.child(ino, name).map(Node::View),
            Node::Volume(position) => self.part_child(position, None, name.to_str()?),
            Node::Part(position, part) => self.part_child(position, Some(part), name.to_str()?),
            _ => None,
        }
    }

    /// The `n`th listed child of a directory, with its name. Constant time, so that a listing may
    /// stop and go on anywhere.
    pub fn child_at(&self, node: Node, n: usize) -> Option<(OsString, Node)> {
        match node {
            Node::Root => ROOT.get(n).map(|(name, node)| ((*name).into(), *node)),
            Node::Series => {
                let volume = self.volumes.get(n)?;
                Some(((&volume.volume.name).into(), Node::Volume(n as u32)))
            }
            Node::Control => CONTROL_FILES
                .get(n)
                .map(|(file, name)| ((*name).into(), Node::ControlFile(*file))),
            Node::View(ino) => self
                .views
                .child_at(ino, n)
                .map(|(name, ino)| (name.into(), Node::View(ino))),
            Node::Volume(position) => self.part_at(position, None, n),
            Node::Part(position, part) => self.part_at(position, Some(part), n),
            _ => None,
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
    pub fn len_bytes(&self, node: Node) -> u64 {
        match node {
            Node::Index(file) => self.index_table(file).len() as u64,
            Node::View(_) => self
                .link_target(node)
                .map_or(0, |target| target.as_os_str().len() as u64),
            Node::Part(position, part) => self.volumes[position as usize].len_bytes(part),
            _ => 0,
        }
    }

    /// Time of the newest source file behind a thing.
    pub fn mtime(&self, node: Node) -> SystemTime {
        match node {
            Node::Volume(position) | Node::Part(position, _) => {
                self.volumes[position as usize].mtime
            }
            _ => self.built,
        }
    }

    /// Number of inodes, for statfs.
    pub fn node_count(&self) -> u64 {
        let in_series: u64 = self.volumes.iter().map(Contents::count).sum();
        in_series + self.views.len() as u64
    }

    fn exists(&self, node: Node) -> bool {
        let Node::Part(position, part) = node else {
            return true;
        };
        let contents = self.volumes.get(position as usize);
        contents.is_some_and(|contents| contents.has(part))
    }

    fn part_child(&self, position: u32, directory: Option<Part>, name: &str) -> Option<Node> {
        let part = self
            .volumes
            .get(position as usize)?
            .child(directory, name)?;
        Some(Node::Part(position, part))
    }

    fn part_at(
        &self,
        position: u32,
        directory: Option<Part>,
        n: usize,
    ) -> Option<(OsString, Node)> {
        let (name, part) = self
            .volumes
            .get(position as usize)?
            .child_at(directory, n)?;
        Some((name.into(), Node::Part(position, part)))
    }
}
