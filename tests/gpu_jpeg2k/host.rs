//! Streams whose device memory is memory: keeps what was decoded and checks that the order of calls
//! is the one promised.

use std::collections::HashSet;
use std::ffi::c_void;
use std::ptr;
use std::sync::{Mutex, MutexGuard};
use std::thread::ThreadId;

use dicomfs::decode::gpu::nvjpeg2k::{COMPONENTS_MAX, Places, Planes, Sample, Streams};
use dicomfs::decode::{Encoded, decode_frame};
use dicomfs::dicom::ImagePixel;

use super::frames::Frame;

/// Bytes at the end of each row that nobody may touch.
const PADDING: usize = 3;
const UNTOUCHED: u8 = 0xA5;

/// What a stream is at.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lane {
    Idle,
    /// Memory was given for this frame.
    Given(usize),
    Queued,
}

/// The planes of one frame.
struct Memory {
    planes: Planes,
    bytes: Vec<u8>,
}

/// A device of plain memory.
pub struct Host {
    streams: usize,
    state: Mutex<State>,
    /// The frame that there is no memory for.
    pub no_memory_for: Option<usize>,
    /// The wait, from 1, from which on the device is lost.
    pub wait_fails_at: Option<usize>,
}

struct State {
    lanes: Vec<Lane>,
    frames: Vec<Option<Memory>>,
    most_at_once: usize,
    waits: usize,
    threads: HashSet<ThreadId>,
}

impl Host {
    pub fn new(streams: usize) -> Host {
        Host {
            streams,
            state: Mutex::new(State {
                lanes: vec![Lane::Idle; streams],
                frames: Vec::new(),
                most_at_once: 0,
                waits: 0,
                threads: HashSet::new(),
            }),
            no_memory_for: None,
            wait_fails_at: None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test thread panicked")
    }

    /// Streams that were at work at the same time.
    pub fn most_at_once(&self) -> usize {
        self.state().most_at_once
    }

    /// Threads that have made the context theirs.
    pub fn threads(&self) -> usize {
        self.state().threads.len()
    }

    /// True when no stream has work.
    pub fn idle(&self) -> bool {
        self.state().lanes.iter().all(|lane| *lane == Lane::Idle)
    }

    fn planes_of(&self, frame: usize) -> Planes {
        self.state().memory(frame).planes
    }

    /// The samples of a frame's planes, without padding, after checking that the padding is whole.
    pub fn bytes(&self, frame: usize) -> Vec<u8> {
        let state = self.state();
        let Memory { planes, bytes } = state.memory(frame);
        let row = planes.row_len_bytes();
        let mut samples = Vec::new();
        for line in bytes.chunks_exact(row + PADDING) {
            samples.extend_from_slice(&line[..row]);
            assert_eq!(line[row..], [UNTOUCHED; PADDING], "written beyond a row");
        }
        samples
    }

    /// The stored samples of a frame, by the rule that [`Planes`] states.
    pub fn stored(&self, frame: usize, image: &ImagePixel) -> Vec<u8> {
        let planes = self.planes_of(frame);
        let bytes = self.bytes(frame);
        let width = planes.sample.len_bytes();
        let plane_len = planes.rows as usize * planes.row_len_bytes();
        let shift = 32 - planes.precision;
        let mut stored = Vec::new();
        for pixel in 0..plane_len / width {
            for plane in bytes.chunks_exact(plane_len) {
                let word = &plane[pixel * width..][..width];
                let value = match planes.sample {
                    Sample::U8 => u32::from(word[0]),
                    Sample::U16 | Sample::I16 => u16::from_le_bytes([word[0], word[1]]).into(),
                };
                let top = value << shift;
                let sample = match image.signed {
                    true => (top as i32 >> shift) as u32,
                    false => top >> shift,
                };
                stored.extend_from_slice(&sample.to_le_bytes()[..image.sample_len_bytes()]);
            }
        }
        stored
    }
}

impl State {
    fn memory(&self, frame: usize) -> &Memory {
        self.frames[frame].as_ref().expect("the frame was decoded")
    }
}

// SAFETY: the memory given is as long as asked for and is kept in place until the frame is asked for
// again, which the batch does only after waiting; the fake library writes at once.
unsafe impl Streams for Host {
    fn count(&self) -> usize {
        self.streams
    }

    fn enter(&self) -> Result<(), String> {
        self.state().threads.insert(std::thread::current().id());
        Ok(())
    }

    fn stream(&self, index: usize) -> *mut c_void {
        let state = self.state();
        assert!(matches!(state.lanes[index], Lane::Given(_)));
        assert!(state.threads.contains(&std::thread::current().id()));
        ptr::null_mut()
    }

    fn planes(&self, index: usize, frame: usize, planes: &Planes) -> Result<Places, String> {
        let mut state = self.state();
        assert_eq!(state.lanes[index], Lane::Idle, "not waited for");
        if self.no_memory_for == Some(frame) {
            return Err("no memory".into());
        }
        state.lanes[index] = Lane::Given(frame);
        let pitch_bytes = planes.row_len_bytes() + PADDING;
        let plane_len = pitch_bytes * planes.rows as usize;
        if state.frames.len() <= frame {
            state.frames.resize_with(frame + 1, || None);
        }
        let memory = state.frames[frame].insert(Memory {
            planes: *planes,
            bytes: vec![UNTOUCHED; plane_len * planes.components as usize],
        });
        let mut places = [0; COMPONENTS_MAX];
        for (place, plane) in places.iter_mut().zip(memory.bytes.chunks_mut(plane_len)) {
            *place = plane.as_mut_ptr() as u64;
        }
        Ok(Places {
            planes: places,
            pitch_bytes,
        })
    }

    fn decoded(&self, index: usize, frame: usize, planes: &Planes) -> Result<(), String> {
        let mut state = self.state();
        assert_eq!(state.lanes[index], Lane::Given(frame));
        assert_eq!(*planes, state.memory(frame).planes);
        state.lanes[index] = Lane::Queued;
        let at_once = state.lanes.iter().filter(|lane| **lane == Lane::Queued);
        state.most_at_once = state.most_at_once.max(at_once.count());
        Ok(())
    }

    fn wait(&self, index: usize) -> Result<(), String> {
        let mut state = self.state();
        assert_ne!(state.lanes[index], Lane::Idle, "waited for nothing");
        state.waits += 1;
        if self.wait_fails_at.is_some_and(|at| state.waits >= at) {
            return Err("the stream is lost".into());
        }
        state.lanes[index] = Lane::Idle;
        Ok(())
    }
}

/// What the CPU decodes.
pub fn by_cpu(frame: &Frame) -> Vec<u8> {
    let mut stored = vec![0; frame.image.frame_len_bytes().expect("small")];
    let encoded = Encoded {
        bytes: &frame.encoded,
        first_bit: 0,
    };
    decode_frame(&frame.uid, &frame.image, encoded, &mut stored).expect("decoded before");
    stored
}
