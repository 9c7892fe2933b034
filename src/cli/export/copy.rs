//! Files of a volume read through the file system that a mount serves, without a mount: the bytes are
//! the same because the code is.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};

use anyhow::{Context, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::interrupt::Interrupt;
use crate::fs::{self as own, Cached, Fs, Kind, ReadReply};

/// Inode number of the root.
const ROOT_INO: u64 = 1;

/// Bytes asked for at a time, twice over: one part is decoded while the other is written.
const PART_BYTES: u32 = 4 << 20;

/// The file system with what is told while it is read.
pub struct Copier<'a> {
    fs: &'a Fs,
    interrupt: &'a Interrupt,
    bar: ProgressBar,
}

/// A file or directory of the file system.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    ino: u64,
    kind: Kind,
    /// Length of a file.
    pub len_bytes: u64,
}

impl<'a> Copier<'a> {
    /// Copies out of `fs`; with `shown` a bar on standard error says how far it is.
    pub fn new(fs: &'a Fs, interrupt: &'a Interrupt, shown: bool) -> Copier<'a> {
        let bar = match shown {
            true => ProgressBar::no_length(),
            false => ProgressBar::hidden(),
        };
        let template = "{spinner} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Copier { fs, interrupt, bar }
    }

    /// The thing at a path from the root; `None` if there is none.
    ///
    /// # Errors
    /// The volume cannot be loaded.
    pub fn find(&self, path: &[&str]) -> Result<Option<Entry>> {
        let mut found = self.fs.getattr(ROOT_INO);
        for name in path {
            found = found.and_then(|attr| self.fs.lookup(attr.ino, OsStr::new(name)));
        }
        match found {
            Ok(attr) => Ok(Some(Entry {
                ino: attr.ino,
                kind: attr.kind,
                len_bytes: attr.size_bytes,
            })),
            Err(own::Error::Absent) => Ok(None),
            Err(why) => Err(why.into()),
        }
    }

    /// Writes all bytes of a file.
    ///
    /// # Errors
    /// A part of it cannot be read, `out` takes no more, or the user has had enough.
    pub fn file(&self, entry: Entry, out: &mut dyn Write) -> Result<()> {
        let mut opening = |_: BorrowedFd<'_>| Err(io::Error::from(io::ErrorKind::Unsupported));
        let opened = self.fs.open(entry.ino, libc::O_RDONLY, &mut opening)?;
        let copied = self.parts(entry, opened.fh, out);
        self.fs.release(opened.fh);
        copied
    }

    fn parts(&self, entry: Entry, fh: u64, out: &mut dyn Write) -> Result<()> {
        let mut offset = 0;
        let mut next = self.ask(entry.ino, fh, offset);
        while offset < entry.len_bytes {
            let answer = next.recv().context("the decoder has ended")?;
            let bytes = answer.map_err(|why| self.failed(why))?;
            if bytes.is_empty() {
                bail!("the file is shorter than its headers say");
            }
            offset += bytes.len() as u64;
            next = self.ask(entry.ino, fh, offset);
            out.write_all(&bytes).context("cannot write")?;
            self.bar.inc(bytes.len() as u64);
            if self.interrupt.is_asked() {
                bail!("interrupted: nothing is written");
            }
        }
        Ok(())
    }

    fn ask(&self, ino: u64, fh: u64, offset: u64) -> Receiver<Result<Vec<u8>, own::Error>> {
        let (answer, answered) = mpsc::channel();
        let reply = ReadReply::new(move |bytes| {
            // Nobody listens after another part has failed.
            let _ = answer.send(bytes.map(<[u8]>::to_vec));
        });
        self.fs.read(ino, fh, offset, PART_BYTES, Cached::No, reply);
        answered
    }

    /// What a failed read means to whoever asked for the file.
    fn failed(&self, why: own::Error) -> anyhow::Error {
        match self.fs.fetcher().failures().first() {
            Some(failure) => anyhow!("{}: {}", failure.frame, failure.what),
            None => why.into(),
        }
    }

    /// Copies a directory with all that is in it, into one that is there.
    ///
    /// # Errors
    /// As of [`Copier::file`].
    pub fn tree(&self, entry: Entry, to: &Path) -> Result<()> {
        for (name, entry) in self.list(entry)? {
            let to = to.join(&name);
            match entry.kind {
                Kind::Directory => {
                    fs::create_dir(&to).context("cannot make a directory")?;
                    self.tree(entry, &to)?;
                }
                _ => {
                    let mut file = File::create(&to).context("cannot make a file")?;
                    self.file(entry, &mut file)?;
                }
            }
        }
        Ok(())
    }

    /// Bytes of all files below a directory.
    ///
    /// # Errors
    /// The volume cannot be loaded.
    pub fn tree_len_bytes(&self, entry: Entry) -> Result<u64> {
        let mut len_bytes = 0;
        for (_, entry) in self.list(entry)? {
            len_bytes += match entry.kind {
                Kind::Directory => self.tree_len_bytes(entry)?,
                _ => entry.len_bytes,
            };
        }
        Ok(len_bytes)
    }

    fn list(&self, entry: Entry) -> Result<Vec<(String, Entry)>> {
        let mut listed = Vec::new();
        self.fs.readdir(entry.ino, 0, &mut |found| {
            let name = found.name.to_string_lossy().into_owned();
            if name != "." && name != ".." {
                let entry = Entry {
                    ino: found.attr.ino,
                    kind: found.attr.kind,
                    len_bytes: found.attr.size_bytes,
                };
                listed.push((name, entry));
            }
            false
        })?;
        Ok(listed)
    }

    /// Says how much there will be to copy.
    pub fn expect(&self, len_bytes: u64) {
        self.bar.set_length(len_bytes);
    }
}

impl Drop for Copier<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
