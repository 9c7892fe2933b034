//! The tree: names and inode numbers to things, and back (DESIGN 1.1).
//!
//! A [`Tree`] is one immutable generation: built from volumes, replaced as a whole. Inode numbers
//! are a function of identity alone, so they are the same after a remount. Knows what is listed
//! and what it is called; knows nothing of open files, and touches no source.

mod ino;
mod name;
mod variant;
mod views;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

pub use name::{numbered, safe};
pub use variant::{ArrayFile, ArrayFormat};

use crate::decode;
use crate::format;
use crate::volume::{Built, Variant, Volume};
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

/// Something below a volume's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `volume[.<op>].<npy|raw>`
    Array(ArrayFile),
    /// `volume.json`
    Json,
    /// `frames/`
    Frames,
    /// `frames/NNNN.npy`, 0-based.
    Frame(u32),
    /// `dicom/`
    Dicom,
    /// `dicom/NNNN.dcm`, 0-based.
    DicomFile(u32),
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
    volumes: Vec<VolumeNode>,
    by_name: HashMap<String, u32>,
    by_key: HashMap<u64, u32>,
    views: Views,
    index_csv: Arc<[u8]>,
    index_jsonl: Arc<[u8]>,
    findings: Vec<u8>,
    built: SystemTime,
}

struct VolumeNode {
    volume: Arc<Volume>,
    key: u64,
    mtime: SystemTime,
    /// Somebody here decodes at least one of its files; else it shows no arrays.
    decodable: bool,
    /// Length of `volume.json`, found out when first asked for.
    json_len_bytes: OnceLock<u64>,
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
            nodes.push(VolumeNode {
                mtime: newest(&volume).unwrap_or(built),
                decodable: is_decodable(&volume),
                json_len_bytes: OnceLock::new(),
                volume: Arc::new(volume),
                key,
            });
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
            Node::Volume(position) => self.volume_child(position, name.to_str()?),
            Node::Part(position, part) => self.numbered_child(position, part, name.to_str()?),
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
            Node::Volume(position) => {
                let part = *self.listed_parts(position).get(n)?;
                Some((part_name(part).into(), Node::Part(position, part)))
            }
            Node::Part(position, part) => {
                let (count, width, extension) = self.numbering(position, part)?;
                let number = u32::try_from(n).ok().filter(|&n| n < count)?;
                let name = numbered(number, width, extension);
                Some((
                    name.into(),
                    Node::Part(position, numbered_part(part, number)?),
                ))
            }
            _ => None,
        }
    }

    /// The directory that holds a thing; the root holds itself.
    pub fn parent(&self, node: Node) -> Node {
        match node {
            Node::View(ino) => self.views.parent(ino).map_or(Node::Root, Node::View),
            Node::Volume(_) => Node::Series,
            Node::ControlFile(_) => Node::Control,
            Node::Part(position, Part::Frame(_)) => Node::Part(position, Part::Frames),
            Node::Part(position, Part::DicomFile(_)) => Node::Part(position, Part::Dicom),
            Node::Part(position, _) => Node::Volume(position),
            _ => Node::Root,
        }
    }

    /// True for directories.
    pub fn is_directory(&self, node: Node) -> bool {
        match node {
            Node::Root | Node::Series | Node::Control | Node::Volume(_) => true,
            Node::View(ino) => self.views.link(ino).is_none(),
            Node::Part(_, part) => matches!(part, Part::Frames | Part::Dicom),
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
            Node::Part(position, part) => {
                self.part_len_bytes(&self.volumes[position as usize], part)
            }
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
        let files = |node: &VolumeNode| node.volume.frames.len() + node.volume.records.len() + 6;
        self.volumes
            .iter()
            .map(|node| files(node) as u64)
            .sum::<u64>()
            + self.views.len() as u64
    }

    fn part_len_bytes(&self, node: &VolumeNode, part: Part) -> u64 {
        let volume = &node.volume;
        match part {
            Part::Array(file) => file.len_bytes(volume),
            Part::Json => *node.json_len_bytes.get_or_init(|| {
                format::json::volume_json(volume).map_or(0, |json| json.len() as u64)
            }),
            Part::Frame(_) => {
                let header = format::npy::HEADER_LEN_BYTES as u64;
                header + volume.frame_len_bytes(Variant::Values)
            }
            Part::DicomFile(record) => volume
                .records
                .get(record as usize)
                .map_or(0, |r| r.identity.size_bytes),
            Part::Frames | Part::Dicom => 0,
        }
    }

    fn exists(&self, node: Node) -> bool {
        let Node::Part(position, part) = node else {
            return true;
        };
        let Some(node) = self.volumes.get(position as usize) else {
            return false;
        };
        match part {
            Part::Frame(n) => (n as usize) < node.volume.frames.len() && node.decodable,
            Part::DicomFile(n) => (n as usize) < node.volume.records.len(),
            Part::Array(_) | Part::Frames => node.decodable,
            Part::Json | Part::Dicom => true,
        }
    }

    fn volume_child(&self, position: u32, name: &str) -> Option<Node> {
        let part = match name {
            "volume.json" => Part::Json,
            "frames" => Part::Frames,
            "dicom" => Part::Dicom,
            _ => Part::Array(ArrayFile::parse(name)?),
        };
        let node = Node::Part(position, part);
        self.exists(node).then_some(node)
    }

    fn numbered_child(&self, position: u32, part: Part, name: &str) -> Option<Node> {
        let (count, width, extension) = self.numbering(position, part)?;
        let number: u32 = name.strip_suffix(extension)?.parse().ok()?;
        let n = number.checked_sub(1).filter(|&n| n < count)?;
        // Only the name that readdir lists, not `1.npy` beside `0001.npy`.
        (numbered(n, width, extension) == name)
            .then_some(Node::Part(position, numbered_part(part, n)?))
    }

    /// How the files of `frames/` and `dicom/` are numbered: count, digits and extension.
    fn numbering(&self, position: u32, part: Part) -> Option<(u32, usize, &'static str)> {
        let volume = self.volume(position)?;
        let (count, extension) = match part {
            Part::Frames => (volume.frames.len(), ".npy"),
            Part::Dicom => (volume.records.len(), ".dcm"),
            _ => return None,
        };
        let count = count.min(ino::NUMBERED_MAX as usize);
        Some((count as u32, name::digits(count), extension))
    }

    /// A volume nobody here can decode shows its original files and what is known of it.
    fn listed_parts(&self, position: u32) -> &'static [Part] {
        const ALL: [Part; 5] = [
            Part::Array(ArrayFile {
                variant: Variant::Values,
                format: ArrayFormat::Npy,
            }),
            Part::Array(ArrayFile {
                variant: Variant::Values,
                format: ArrayFormat::Raw,
            }),
            Part::Frames,
            Part::Json,
            Part::Dicom,
        ];
        match self
            .volumes
            .get(position as usize)
            .is_some_and(|node| node.decodable)
        {
            true => &ALL,
            false => &ALL[3..],
        }
    }
}

fn part_name(part: Part) -> String {
    match part {
        Part::Array(file) => file.name(),
        Part::Json => "volume.json".to_string(),
        Part::Frames => "frames".to_string(),
        Part::Dicom => "dicom".to_string(),
        Part::Frame(n) | Part::DicomFile(n) => n.to_string(),
    }
}

fn numbered_part(directory: Part, n: u32) -> Option<Part> {
    match directory {
        Part::Frames => Some(Part::Frame(n)),
        Part::Dicom => Some(Part::DicomFile(n)),
        _ => None,
    }
}

fn is_decodable(volume: &Volume) -> bool {
    let served = |uid: &str| decode::decoder_for(uid).is_ok();
    volume
        .records
        .iter()
        .any(|record| served(&record.instance.transfer_syntax_uid))
}

fn newest(volume: &Volume) -> Option<SystemTime> {
    let ns = volume
        .records
        .iter()
        .map(|record| record.identity.mtime_ns)
        .max()?;
    let since = std::time::Duration::from_nanos(u64::try_from(ns).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}
