//! Uncompressed frames, read from their files and shown in a resident: no slab, no other process.
//!
//! Frames are cut where a stage ends; a stage is read (or, with a [`ReadToDevice`], filled by the device
//! itself) while the kernel shows the one before. What is shown is what the engine's kernel makes of the
//! same jobs. A frame that could not be read in full is [`Outcome::Failed`].
//!
//! `unsafe` because copies and kernels go on after the calls that start them: what they read and write
//! is left alone until the stage has been waited for.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use super::stage::{ALIGN, Failure, STAGE_BYTES, Stage, Stages, TABLES_BYTES, loads};
use super::table::Resident;
use crate::decode::gpu::cufile::{CuFile, FileHandle};
use crate::decode::gpu::engine;
use crate::decode::gpu::kernels::{Frame, Kernels, Plain, Tables, flag, source};
use crate::decode::gpu::lossless::Intervals;
use crate::decode::gpu::resident::DirectJob;
use crate::decode::gpu::{Outcome, Refusal};

/// Pieces of frames in a stage at most: as many as the tables have room for.
const SLICES_MAX: usize = TABLES_BYTES / (size_of::<Frame>() + size_of::<u32>());

/// A way to read files straight into device memory.
pub trait ReadToDevice: Send {
    /// Prepares a file.
    ///
    /// # Errors
    /// It cannot be read in this way, and why: then it is read by the CPU.
    fn open<'a>(&'a self, file: BorrowedFd<'a>) -> Result<Box<dyn DeviceFile + 'a>, String>;
}

/// A file that can be read straight into device memory.
pub trait DeviceFile {
    /// Reads `len_bytes` from an offset in the file to an address of the device, and returns when they
    /// are there: how many there were. Fewer are no error, none are the file's end.
    ///
    /// # Safety
    /// The address must be of so much device memory that nothing else uses.
    ///
    /// # Errors
    /// It cannot be read in this way, and why: then it is read by the CPU.
    unsafe fn read(
        &self,
        address: u64,
        len_bytes: usize,
        file_offset_bytes: u64,
    ) -> Result<usize, String>;
}

impl ReadToDevice for CuFile {
    fn open<'a>(&'a self, file: BorrowedFd<'a>) -> Result<Box<dyn DeviceFile + 'a>, String> {
        Ok(Box::new(self.register(file)?))
    }
}

impl DeviceFile for FileHandle {
    unsafe fn read(
        &self,
        address: u64,
        len_bytes: usize,
        file_offset_bytes: u64,
    ) -> Result<usize, String> {
        // SAFETY: the caller's word.
        unsafe { FileHandle::read(self, address, len_bytes, file_offset_bytes) }
    }
}

/// A piece of a frame that fits a stage.
#[derive(Debug, Clone, PartialEq)]
struct Slice {
    /// Which job.
    job: usize,
    file: usize,
    file_offset_bytes: u64,
    len: usize,
    /// What the kernel is told; `out` counts from the start of the resident.
    frame: Frame,
}

/// What a stage holds until it is done.
struct Load {
    /// The jobs of its slices, in the order of their flags.
    jobs: Vec<usize>,
    flags: Range<usize>,
}

/// What the work is done with.
pub struct Direct<'a> {
    pub(super) kernels: &'a Kernels,
    pub(super) stages: &'a mut Stages,
    pub(super) reader: Option<&'a dyn ReadToDevice>,
    pub(super) resident: &'a Resident,
}

impl Direct<'_> {
    /// Does all jobs, which were checked against the number of files and the resident: how each went.
    /// The caller waits for the stages, whatever this returns.
    ///
    /// # Errors
    /// The driver fails.
    pub fn run(&mut self, jobs: &[DirectJob], fds: &[OwnedFd]) -> Result<Vec<Outcome>, Failure> {
        let mut outcomes = vec![Outcome::Done; jobs.len()];
        let mut slices = Vec::new();
        for (index, job) in jobs.iter().enumerate() {
            match cut(index, job, self.resident.len_bytes()) {
                Ok(cut) => slices.extend(cut),
                Err(outcome) => outcomes[index] = outcome,
            }
        }
        for n in 0..2 {
            let (stage, context) = self.stages.turn(n);
            match stage.need_device(context) {
                Err(error) if error.is_out_of_memory() => {
                    return Ok(vec![Outcome::Refused(Refusal::TooLarge); jobs.len()]);
                }
                other => other?,
            }
        }
        let mut files = Files::open(fds, self.reader);
        let loads = loads(slices, |slice| slice.len, SLICES_MAX);
        let mut under_way: [Option<Load>; 2] = [None, None];
        for (n, load) in loads.into_iter().enumerate() {
            self.finish(n, &mut under_way, &mut outcomes)?;
            under_way[n % 2] = self.start(n, load, &mut files, &mut outcomes)?;
        }
        for n in 0..2 {
            self.finish(n, &mut under_way, &mut outcomes)?;
        }
        Ok(outcomes)
    }

    /// Reads a load into the stage whose turn it is, and starts what is to be done with it.
    fn start(
        &mut self,
        n: usize,
        slices: Vec<Slice>,
        files: &mut Files<'_>,
        outcomes: &mut [Outcome],
    ) -> Result<Option<Load>, Failure> {
        let (stage, context) = self.stages.turn(n);
        stage.host(context);
        let Some((host, device, _)) = stage.parts() else {
            return Ok(None);
        };
        let mut frames = Vec::with_capacity(slices.len());
        let mut load = Load {
            jobs: Vec::with_capacity(slices.len()),
            flags: 0..0,
        };
        let mut uploads: Vec<Range<usize>> = Vec::new();
        let mut at = TABLES_BYTES;
        for slice in slices {
            let place = at..at + slice.len;
            at = place.end.next_multiple_of(ALIGN);
            let address = device.address() + place.start as u64;
            match files.read(&slice, address, &mut host[place.clone()]) {
                Ok(Where::Device) => {}
                Ok(Where::Host) => match uploads.last_mut() {
                    // What lies between two slices is nothing.
                    Some(last) if last.end.next_multiple_of(ALIGN) == place.start => {
                        last.end = place.end;
                    }
                    _ => uploads.push(place),
                },
                Err(why) => {
                    outcomes[slice.job] = Outcome::Failed(why);
                    continue;
                }
            }
            let mut frame = slice.frame;
            if frame.source == source::WORDS || frame.source == source::WORD_PLANES {
                frame.planes[0] = address;
            }
            frame.out += self.resident.memory().address();
            frames.push(frame);
            load.jobs.push(slice.job);
        }
        if frames.is_empty() {
            return Ok(None);
        }
        load.flags = tables(&frames, host);
        match launch(stage, &frames, &uploads, &load.flags, self.kernels) {
            Ok(()) => Ok(Some(load)),
            Err(Failure::Call(error)) if !error.is_lost() => {
                for job in load.jobs {
                    outcomes[job] = Outcome::Failed(error.to_string());
                }
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Waits for what the stage holds and says how it went.
    fn finish(
        &mut self,
        n: usize,
        under_way: &mut [Option<Load>; 2],
        outcomes: &mut [Outcome],
    ) -> Result<(), Failure> {
        let (stage, context) = self.stages.turn(n);
        let waited = stage.wait();
        let Some(load) = under_way[n % 2].take() else {
            return waited.map_err(Failure::Call);
        };
        if let Err(error) = waited {
            if error.is_lost() {
                return Err(error.into());
            }
            for job in load.jobs {
                outcomes[job] = Outcome::Failed(error.to_string());
            }
            return Ok(());
        }
        let (flags, _) = stage.host(context)[load.flags].as_chunks::<4>();
        for (job, flags) in load.jobs.into_iter().zip(flags) {
            let is_done = outcomes[job] == Outcome::Done;
            if is_done && u32::from_ne_bytes(*flags) & flag::OVERFLOWED != 0 {
                outcomes[job] = Outcome::Overflow;
            }
        }
        Ok(())
    }
}

/// Cuts a frame into slices that fit a stage.
fn cut(index: usize, job: &DirectJob, resident_len_bytes: u64) -> Result<Vec<Slice>, Outcome> {
    let too_large = || Outcome::Refused(Refusal::TooLarge);
    let len = usize::try_from(resident_len_bytes).map_err(|_| too_large())?;
    let checked = engine::check_native(index, &job.job, len)?;
    let frame = checked.frame;
    let (width, samples) = (frame.width as usize, frame.samples_all as usize);
    let item = checked.out.len() / samples.max(1);
    if item == 0 || !checked.out.start.is_multiple_of(item) {
        return Err(Outcome::Failed("values that are not aligned".into()));
    }
    let step = match frame.source {
        source::WORDS => STAGE_BYTES / width,
        // A pixel's samples lie far apart.
        _ if samples * width <= STAGE_BYTES => samples,
        _ => return Err(too_large()),
    };
    let slice = |first: usize| {
        let count = step.min(samples - first);
        Slice {
            job: index,
            file: job.file as usize,
            file_offset_bytes: job.file_offset_bytes + (first * width) as u64,
            len: count * width,
            frame: Frame {
                out: (checked.out.start + first * item) as u64,
                // No more than a frame has, which is 32 bits.
                samples_all: count as u32,
                ..frame
            },
        }
    };
    Ok((0..samples).step_by(step).map(slice).collect())
}

/// Writes what the kernel is told, with no flag set: where the flags stand.
fn tables(frames: &[Frame], host: &mut [u8]) -> Range<usize> {
    let bytes = Plain::bytes(frames);
    let flags = bytes.len()..bytes.len() + frames.len() * size_of::<u32>();
    host[..bytes.len()].copy_from_slice(bytes);
    host[flags.clone()].fill(0);
    flags
}

/// Starts the copies and the kernel.
fn launch(
    stage: &mut Stage,
    frames: &[Frame],
    uploads: &[Range<usize>],
    flags: &Range<usize>,
    kernels: &Kernels,
) -> Result<(), Failure> {
    stage.set_under_way();
    let Some((host, device, stream)) = stage.parts() else {
        return Ok(());
    };
    let tables = Tables {
        frames: device.address(),
        frame_count: frames.len() as u32,
        samples_max: frames.iter().map(|f| f.samples_all).max().unwrap_or(0),
        segments: device.address(),
        segment_count: 0,
        chunks_max: 0,
        intervals: Intervals::default(),
        flags: device.address() + flags.start as u64,
    };
    // SAFETY: the pinned memory is left alone until the stage has been waited for. Frames were checked
    // against the resident, which the caller holds until then, and lie in the stage.
    unsafe {
        device.upload(0, &host[..flags.end], stream)?;
        for place in uploads {
            device.upload(place.start, &host[place.clone()], stream)?;
        }
        kernels.launch(&tables, stream)?;
        let flags_to = host[flags.clone()].as_mut_ptr();
        device.download(flags.start, flags_to, flags.len(), stream)?;
    }
    Ok(())
}

/// Where the bytes of a slice are.
enum Where {
    Host,
    Device,
}

/// The files of an order.
struct Files<'a> {
    files: Vec<Result<File, String>>,
    fds: &'a [OwnedFd],
    reader: Option<&'a dyn ReadToDevice>,
    /// Those that were tried; `None`: the CPU reads it.
    opened: HashMap<usize, Option<Box<dyn DeviceFile + 'a>>>,
}

impl<'a> Files<'a> {
    fn open(fds: &'a [OwnedFd], reader: Option<&'a dyn ReadToDevice>) -> Files<'a> {
        let file = |fd| super::regular(fd).map_err(|failure| failure.to_string());
        Files {
            files: fds.iter().map(file).collect(),
            fds,
            reader,
            opened: HashMap::new(),
        }
    }

    /// Reads a slice in full, to the device if it can be, else to `host`.
    fn read(&mut self, slice: &Slice, address: u64, host: &mut [u8]) -> Result<Where, String> {
        let (Some(file), Some(fd)) = (self.files.get(slice.file), self.fds.get(slice.file)) else {
            return Err("no such file".into());
        };
        let file = file.as_ref().map_err(Clone::clone)?;
        if let Some(reader) = self.reader {
            let opened = self.opened.entry(slice.file).or_insert_with(|| {
                let opened = reader.open(fd.as_fd());
                opened.inspect_err(|why| by_cpu(why)).ok()
            });
            if let Some(direct) = opened {
                match read_all(&**direct, slice, address) {
                    Ok(true) => return Ok(Where::Device),
                    Ok(false) => return Err("the file is too short".into()),
                    Err(why) => {
                        by_cpu(&why);
                        *opened = None;
                    }
                }
            }
        }
        match file.read_exact_at(host, slice.file_offset_bytes) {
            Ok(()) => Ok(Where::Host),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err("the file is too short".into())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Reads a slice to its place in a stage, which nothing is under way in: false if the file ends before.
fn read_all(file: &dyn DeviceFile, slice: &Slice, address: u64) -> Result<bool, String> {
    let mut done = 0;
    while done < slice.len {
        let (to, left) = (address + done as u64, slice.len - done);
        // SAFETY: the rest of the slice's own place.
        let read = unsafe { file.read(to, left, slice.file_offset_bytes + done as u64)? };
        if read == 0 || read > left {
            return Ok(false);
        }
        done += read;
    }
    Ok(true)
}

fn by_cpu(why: &str) {
    tracing::debug!(why, "a file is read by the CPU");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::gpu::testing::job;
    use crate::decode::gpu::{Codec, Show};

    fn direct(rows: u32, samples_per_pixel: u16, planar: u16, len: u64) -> DirectJob {
        let mut job = job(0..len, 4096..4096 + len);
        job.codec = Codec::Native { big_endian: true };
        job.show = Show::Stored;
        job.image.rows = rows;
        job.image.samples_per_pixel = samples_per_pixel;
        job.image.planar_configuration = planar;
        DirectJob {
            file: 3,
            file_offset_bytes: 1000,
            job,
        }
    }

    #[test]
    fn a_large_frame_is_cut_and_nothing_is_left_out() {
        // 512 columns of 2 bytes.
        let rows = 2 * STAGE_BYTES as u64 / 1024 + 7;
        let job = direct(rows as u32, 1, 0, rows * 1024);
        let slices = cut(5, &job, 4096 + rows * 1024).unwrap();
        assert_eq!(slices.len(), 3);
        let (mut file, mut out) = (1000, 4096);
        for slice in &slices {
            assert_eq!((slice.job, slice.file), (5, 3));
            assert_eq!((slice.file_offset_bytes, slice.frame.out), (file, out));
            assert_eq!(slice.frame.samples_all as usize * 2, slice.len);
            assert!(slice.len <= STAGE_BYTES && slice.frame.swap == 1);
            file += slice.len as u64;
            out += slice.len as u64;
        }
        assert_eq!(out, 4096 + rows * 1024);
    }

    #[test]
    fn what_cannot_be_cut_or_is_none_is_refused() {
        let rows = STAGE_BYTES as u64 / 3072 + 1;
        let planes = direct(rows as u32, 3, 1, rows * 3072);
        let pixels = direct(rows as u32, 3, 0, rows * 3072);
        let len = 4096 + rows * 3072;
        assert_eq!(
            cut(0, &planes, len),
            Err(Outcome::Refused(Refusal::TooLarge))
        );
        assert_eq!(cut(0, &pixels, len).unwrap().len(), 2);
        let good = direct(8, 1, 0, 8192);
        assert_eq!(cut(0, &good, 4096 + 8192).unwrap().len(), 1);
        assert!(cut(0, &good, 4096 + 8191).is_err(), "not in the resident");
        let mut short = good.clone();
        short.job.encoded = 0..8191;
        let refused = Outcome::Refused(Refusal::Codestream);
        assert_eq!(cut(0, &short, 1 << 20), Err(refused));
        let mut odd = good.clone();
        odd.job.out = 4097..4097 + 8192;
        assert!(matches!(cut(0, &odd, 1 << 20), Err(Outcome::Failed(_))));
        let mut packed = good;
        packed.job.codec = Codec::Rle;
        assert!(cut(0, &packed, 1 << 20).is_err());
    }
}
