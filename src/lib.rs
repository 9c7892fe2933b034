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
//! `read()` arrives in [`fuse`], which hands offset, size and a reply object to [`fs::Fs::read`].
//! `fs` knows from the open handle which file this is, declines what the kernel only guesses
//! (`fs/reading.rs`), and asks [`fetch`] for the byte range of its slab. `fetch` answers at once from the [`cache`] slab's map when every frame of the range is
//! present; otherwise the reply moves to the frames it waits for. A worker takes a frame: from
//! the disk tier of [`cache`] if it is there, else it reads the frame's bytes from the archive, has
//! [`decode`] turn them into samples, applies the volume's value rule straight into the slab, and the worker that completes the last frame answers the read. What is
//! only made ahead, or waits while all workers are busy (of small volumes), may be taken by a device ([`fetch::Device`]), from the tail, in
//! batches of one volume or several. A frame of
//! a volume is a stored frame, a tile of one (Siemens MOSAIC), or zeros that a segmentation leaves
//! out ([`volume::Frame`]).
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
