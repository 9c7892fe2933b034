//! dicomfs: a DICOM archive mounted as ordinary array files, decoded when they are read.
//!
//! # Code map
//!
//! Modules are layers, and an import may only point down this list (`tests/tidy.rs` checks it):
//!
//! | layer | job |
//! |---|---|
//! | [`cli`] | flags to actions |
//! | [`config`] | one struct: flags, `-o` options, defaults |
//! | [`mount`] | own the mount(2): readiness, signals, unmount, recovery |
//! | [`fuse`] | the protocol: converts and replies, decides nothing |
//! | [`fs`] | operations, open handles, read modes, the one errno table |
//! | [`tree`] | names and inode numbers to things and back |
//! | [`library`] | the volumes of an archive: a card of each, and the volumes when they are used |
//! | [`fetch`] | byte range to frames: single flight, urgent queue, sweep ahead, who decodes |
//! | [`cache`] | slabs (one backing file per volume variant), byte-weighted LRU |
//! | [`decode`] | one registry keyed by Transfer Syntax UID: bytes in, samples out |
//! | [`mod@format`] | npy, nifti, nrrd, metaimage, zarr, png, json, bids, csv: header bytes and size laws (pure) |
//! | [`volume`] | grouping, order, geometry, value rule, verdict (pure) |
//! | [`archive`] | sources, scan, index; what changes, and when it has settled |
//! | [`dicom`] | the vocabulary: header reading, encapsulation, transfer syntaxes |
//! | [`ipc`] | messages with descriptors between processes; what a process does to itself |
//! | [`hash`] | numbers and digits that stand for bytes |
//!
//! # The path of a byte
//!
//! 1. `read()` arrives in [`fuse`], which hands inode, handle, offset, size and a reply object to
//!    [`fs::Fs::read`].
//! 2. `fs` knows from the handle what the file holds (`fs/content.rs`). Where that is part of a slab, the
//!    range of the file becomes one of the slab (`fs/view.rs`); what the kernel only guesses is declined,
//!    and what the reader will want next is found out (`fs/reading.rs`).
//! 3. [`fetch`] answers at once from the map of the [`cache`]'s slab when every frame of the range is
//!    present. Otherwise the reply moves to the frames it waits for (`fetch/stream.rs`), and these to
//!    the front of the queue (`fetch/queue.rs`).
//! 4. A worker takes a frame (`fetch/work.rs`): from the disk tier of [`cache`] if it is there. Else
//!    it has its bytes read from the [`archive`], [`decode`] turn them into samples, and the volume's
//!    value rule applied to these, straight into the slab (`fetch/frames.rs`; the only frame of a small
//!    volume goes there by way of a buffer, `cache/slab/filling.rs`).
//! 5. The worker that completes the last frame of the range answers the read.
//!
//! What is only made ahead, or waits while all workers are busy (of small volumes), may be taken by a
//! device ([`fetch::Device`]), from the tail, in batches of one volume or several. A frame of a volume is
//! a stored frame, a tile of one (Siemens MOSAIC), or zeros that a segmentation leaves out
//! ([`volume::Frame`]). Once all frames of a slab are there, the next who opens its file reads the slab
//! itself (`fs/modes.rs`), and nothing of this happens any more.
//!
//! # Invariants
//!
//! - The bytes are exact or the read fails.
//! - `stat` and `ls` never touch Pixel Data.
//! - The archive is hostile input and is never written.
//! - No decode on a FUSE thread, and no wait but for the index, once a series, and with `deid` for the
//!   headers of files under `dicom/`, once each; no lock is held across I/O or decode.
//! - With `deid` nothing but what [`dicom::deid`] has made of it leaves [`library`], beside the paths
//!   and times by which source files are opened.
//! - The process that serves may die at any moment: another one goes on ([`mount`]).

pub mod archive;
pub mod cache;
pub mod cli;
pub mod config;
pub mod decode;
pub mod dicom;
pub mod fetch;
pub mod format;
pub mod fs;
pub mod fuse;
pub mod hash;
pub mod ipc;
pub mod library;
pub mod mount;
pub mod tree;
pub mod volume;
