//! Generations: how one is made from the library's cards, and what it leaves of the one before.
//!
//! A volume whose bytes or texts change gets other inode numbers, like a file that is replaced: who
//! has the old one open keeps it, with the pages the kernel has of it, and nobody reads a mixture.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use serde::Deserialize;

use super::views::Views;
use super::{Entry, IndexFile, Lazy, Node, Stale, Tree, ino, show};
use crate::format::{self, table};
use crate::library::{self, Card, Library, ScanState};
use crate::volume::Built;
use crate::volume::finding::known_code;

impl Tree {
    /// The first generation of a library; `built` is the time shown for what has no source file.
    ///
    /// # Errors
    /// When a table cannot be written.
    pub fn new(library: Arc<Library>, built: SystemTime) -> Result<Tree, format::Error> {
        generation(library, built, None)
    }

    /// The tree of volumes that are in memory and stay there.
    ///
    /// # Errors
    /// When a table cannot be written.
    pub fn pinned(archive: Built, built: SystemTime) -> Result<Tree, library::Error> {
        let library = Library::pinned(archive, show)?;
        Ok(Tree::new(Arc::new(library), built)?)
    }

    /// The generation after this one: what the library holds now.
    ///
    /// # Errors
    /// When a table cannot be written.
    pub fn next(&self, now: SystemTime) -> Result<Tree, format::Error> {
        generation(self.library.clone(), now, Some(self))
    }

    /// What of `old` is not so here.
    pub fn changes_since(&self, old: &Tree) -> Vec<Stale> {
        let mut stale = Vec::new();
        for was in &old.entries {
            let is = self.position(&was.card().name);
            let is = is.map(|position| &self.entries[position as usize]);
            if is.is_none_or(|is| is.key != was.key) {
                let name = (&*was.card().name).into();
                stale.push(Stale::Name(ino::of_fixed(Node::Series), name));
            }
        }
        if !stale.is_empty() || self.entries.len() != old.entries.len() {
            let (root, series) = (ino::of_fixed(Node::Root), ino::of_fixed(Node::Series));
            stale.push(Stale::Contents(series));
            let tables = ["index.csv", "index.jsonl"];
            stale.extend(tables.map(|name| Stale::Name(root, name.into())));
            self.views.changes_since(&old.views, &mut stale);
        }
        stale
    }

    /// The contents of an index table.
    pub fn index_table(&self, file: IndexFile) -> &Arc<[u8]> {
        match file {
            IndexFile::Csv => self.index_csv.text(|| {
                // It could be written when its length was taken.
                let mut text = table::csv_header().unwrap_or_default();
                self.append(&mut text, |card| &card.index_csv);
                text
            }),
            IndexFile::Jsonl => self.index_jsonl.text(|| {
                let mut text = Vec::new();
                self.append(&mut text, |card| &card.index_jsonl);
                text
            }),
        }
    }

    /// `findings.jsonl` as far as headers tell: of volumes, then of files that are in none.
    pub fn findings(&self) -> &Arc<[u8]> {
        self.findings.text(|| {
            let mut text = Vec::new();
            self.append(&mut text, |card| &card.findings);
            for series in &self.holdings.series {
                text.extend_from_slice(&series.findings);
            }
            text.extend_from_slice(&self.holdings.findings);
            text
        })
    }

    /// How many lines of [`Tree::findings`] there are of each code.
    pub fn finding_counts(&self) -> &BTreeMap<&'static str, u64> {
        self.finding_counts.get_or_init(|| {
            let mut counts = BTreeMap::new();
            for entry in &self.entries {
                count_codes(&entry.card().findings, &mut counts);
            }
            for series in &self.holdings.series {
                count_codes(&series.findings, &mut counts);
            }
            count_codes(&self.holdings.findings, &mut counts);
            counts
        })
    }

    /// Length of [`Tree::findings`], without making it.
    pub fn findings_len_bytes(&self) -> u64 {
        self.findings.len_bytes
    }

    fn append(&self, text: &mut Vec<u8>, of: impl Fn(&Card) -> &[u8]) {
        for entry in &self.entries {
            text.extend_from_slice(of(entry.card()));
        }
    }
}

/// Counts lines of `findings.jsonl` by their codes, of which there are only so many.
fn count_codes(lines: &[u8], counts: &mut BTreeMap<&'static str, u64>) {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        code: std::borrow::Cow<'a, str>,
    }
    let lines = lines.split(|byte| *byte == b'\n');
    for line in lines.filter(|line| !line.is_empty()) {
        // Our own lines; a damaged one is counted as what a code that is not known is.
        let line: Option<Line<'_>> = serde_json::from_slice(line).ok();
        let code = known_code(line.as_ref().map_or("", |line| &line.code));
        *counts.entry(code).or_default() += 1;
    }
}

impl Lazy {
    fn new(len_bytes: u64) -> Lazy {
        Lazy {
            len_bytes,
            text: OnceLock::new(),
        }
    }

    fn text(&self, make: impl FnOnce() -> Vec<u8>) -> &Arc<[u8]> {
        self.text.get_or_init(|| make().into())
    }
}

fn generation(
    library: Arc<Library>,
    now: SystemTime,
    old: Option<&Tree>,
) -> Result<Tree, format::Error> {
    // Asked first: what is known by then may be all, and not the other way round.
    let is_passing = library.scan_status().course().0 == ScanState::Running;
    let holdings = library.holdings();
    let mut entries: Vec<Entry> = Vec::new();
    for series in &holdings.series {
        entries.extend((0..series.cards.len() as u32).map(|at| Entry {
            series: series.clone(),
            at,
            key: 0,
        }));
    }
    entries.sort_by(|a, b| a.card().name.cmp(&b.card().name));
    entries.dedup_by(|a, b| {
        let is_double = a.card().name == b.card().name;
        if is_double {
            tracing::error!(
                name = &*a.card().name,
                "two volumes of one name: one is not shown"
            );
        }
        is_double
    });
    let by_key = number(&mut entries);
    let sum = |of: &dyn Fn(&Card) -> u64| entries.iter().map(|entry| of(entry.card())).sum();
    let len = |of: &dyn Fn(&Card) -> &[u8]| -> u64 { sum(&|card| of(card).len() as u64) };
    let of_files = holdings.series.iter().map(|series| series.findings.len());
    let of_files = of_files.sum::<usize>() + holdings.findings.len();
    let views = Views::new(entries.iter().map(Entry::card));
    let keys: Vec<String> = entries.iter().map(|entry| entry.key.to_string()).collect();
    let index_ino = |table: &str| {
        let identity = format!("{table} {}", keys.join(" "));
        ino::free_view(&identity, |ino| views.contains(ino))
    };
    let index_inos = ["index.csv", "index.jsonl"].map(index_ino);
    let mut tree = Tree {
        index_csv: Lazy::new(table::csv_header()?.len() as u64 + len(&|card| &card.index_csv)),
        index_jsonl: Lazy::new(len(&|card| &card.index_jsonl)),
        findings: Lazy::new(of_files as u64 + len(&|card| &card.findings)),
        total_bytes: sum(&|card| card.len_bytes),
        node_count: sum(&|card| card.shown.nodes) + views.len() as u64,
        finding_counts: OnceLock::new(),
        library,
        holdings,
        index_inos,
        by_key,
        views,
        entries,
        built: now,
        is_passing,
        serial: 0,
    };
    if let Some(old) = old {
        let is_same = tree.changes_since(old).is_empty();
        tree.serial = old.serial + u64::from(!is_same);
        if is_same {
            tree.built = old.built;
        }
    }
    Ok(tree)
}

/// Gives every entry its key, by name and by what its bytes and texts follow from.
fn number(entries: &mut [Entry]) -> HashMap<u64, u32> {
    let mut by_key = HashMap::with_capacity(entries.len());
    for (position, entry) in (0_u32..).zip(entries.iter_mut()) {
        let card = entry.card();
        let parts: [&[u8]; 4] = [
            card.name.as_bytes(),
            &card.fingerprint,
            &card.findings,
            &card.index_jsonl,
        ];
        // Sorted by name, so that of two that collide the same one gives way at every mount.
        entry.key = ino::free_key(&parts.join(&0), |key| by_key.contains_key(&key));
        by_key.insert(entry.key, position);
    }
    by_key
}
