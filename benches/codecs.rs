//! One thread decoding single frames, for `codecs.py`, which runs other decoders on the same frames at
//! the same time and compares what comes out.
//!
//! Argument: how often each frame is decoded. Each line of standard input is a frame: transfer syntax,
//! rows, columns, bits allocated, bits stored, 1 where samples are signed, and the file with its bytes;
//! separated by tabs. Beside that file it writes the samples (`.out`), and to standard output a line:
//! the processor time of this thread for one decode, in nanoseconds.
//!
//! Unsafe because a thread's processor time has no safe form in std.
#![allow(unsafe_code)]

use std::hint::black_box;
use std::io::{BufRead, Error, Result, stdin};
use std::{env, fs};

use dicomfs::decode::{Encoded, decode_frame};
use dicomfs::dicom::{ImagePixel, Photometric, PixelElement};

fn main() -> Result<()> {
    let Some(times) = env::args().nth(1).and_then(|word| word.parse().ok()) else {
        println!("left out: this is a part of benches/codecs.py");
        return Ok(());
    };
    for line in stdin().lock().lines() {
        println!("{}", measure(&line?, times)?);
    }
    Ok(())
}

fn measure(line: &str, times: u32) -> Result<u64> {
    let words: Vec<&str> = line.split('\t').collect();
    let [uid, rows, columns, allocated, stored, signed, file] = words[..] else {
        return Err(Error::other("seven words a line"));
    };
    let number = |word: &str| word.parse::<u32>().map_err(Error::other);
    let bits_stored = number(stored)? as u16;
    let image = ImagePixel {
        rows: number(rows)?,
        columns: number(columns)?,
        number_of_frames: 1,
        samples_per_pixel: 1,
        photometric: Photometric::Monochrome2,
        planar_configuration: 0,
        bits_allocated: number(allocated)? as u16,
        bits_stored,
        high_bit: bits_stored - 1,
        signed: signed == "1",
        element: PixelElement::PixelData,
    };
    let bytes = fs::read(file)?;
    let len = image.frame_len_bytes().ok_or(Error::other("too large"))?;
    let mut out = vec![0; len];
    let mut decode = || {
        let encoded = Encoded {
            bytes: black_box(&bytes),
            first_bit: 0,
        };
        decode_frame(uid, &image, encoded, &mut out).map_err(Error::other)
    };
    // Once to have the memory.
    decode()?;
    let start = thread_time_ns();
    for _ in 0..times {
        decode()?;
    }
    let taken = thread_time_ns() - start;
    fs::write(format!("{file}.out"), &out)?;
    Ok(taken / u64::from(times.max(1)))
}

/// Time that this thread has had of a core.
fn thread_time_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a timespec of ours that outlives the call; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
