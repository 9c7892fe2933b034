//! The library's objects as types that own them, and the ways to have pictures decoded.
//!
//! Unsafe because the library is C and writes to device memory by address. What keeps it sound: each
//! object is made and destroyed once, by its type; a state is not used again, and what it reads
//! neither moves nor goes, before the stream that its work was queued on has been waited for
//! ([`DecodeState::idle`]); a state whose stream cannot be waited for is leaked. The addresses and
//! streams are the caller's promise. Must not know batches of jobs or threads.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::result::{Failure, check};
use super::sys::{BACKEND_GPU_HYBRID, COMPONENTS_MAX, Functions, Image, OUTPUT_UNCHANGED, Opaque};
use crate::decode::gpu::library::Version;
use crate::decode::gpu::planes::PLANES_MAX;

type Destroy = unsafe extern "C" fn(Opaque) -> c_int;

/// An object of the library.
struct Object {
    raw: NonNull<c_void>,
    destroy: Destroy,
}

// SAFETY: the objects hold host and device memory, and nothing that belongs to a thread.
unsafe impl Send for Object {}

impl Object {
    fn own(raw: Opaque, name: &str, destroy: Destroy) -> Result<Object, String> {
        let raw = NonNull::new(raw).ok_or_else(|| format!("nvJPEG made no {name}"))?;
        Ok(Object { raw, destroy })
    }

    fn raw(&self) -> Opaque {
        self.raw.as_ptr()
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: the object is the library's own, is destroyed once, and is not in use: types with
        // work under way do not drop it.
        let status = unsafe { (self.destroy)(self.raw()) };
        if let Err(failure) = check("Destroy", status) {
            tracing::debug!("destroying: {failure}");
        }
    }
}

/// The library's version: major, minor, patch level.
pub(super) fn version(functions: &Functions) -> Result<Version, String> {
    let mut version = [0; 3];
    for (property, number) in (0..).zip(&mut version) {
        // SAFETY: writes one number.
        let status = unsafe { (functions.get_property)(property, number) };
        check("GetProperty", status).map_err(|failure| failure.to_string())?;
    }
    Ok(Version(version))
}

/// What the library understands of a picture's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Info {
    pub components: i32,
    /// nvjpegChromaSubsampling_t.
    pub subsampling: i32,
    /// In pixels, of each component.
    pub widths: [i32; COMPONENTS_MAX],
    pub heights: [i32; COMPONENTS_MAX],
}

/// The library's instance.
pub(super) struct Handle {
    functions: &'static Functions,
    object: Object,
}

// SAFETY: "The library handle is thread safe" (nvJPEG documentation, nvjpegHandle_t).
unsafe impl Sync for Handle {}

impl Handle {
    /// Makes one, with the library's own allocators; needs a CUDA device.
    pub fn new(functions: &'static Functions) -> Result<Arc<Handle>, String> {
        let (mut raw, none) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: no allocators of ours; writes one pointer.
        let status = unsafe { (functions.create)(BACKEND_GPU_HYBRID, none, none, 0, &mut raw) };
        check("CreateEx", status).map_err(|failure| failure.to_string())?;
        let object = Object::own(raw, "handle", functions.destroy)?;
        Ok(Arc::new(Handle { functions, object }))
    }

    /// Has the headers of a picture read, on the CPU alone.
    pub fn info(&self, picture: &[u8]) -> Result<Info, Failure> {
        let mut info = Info {
            components: 0,
            subsampling: -1,
            widths: [0; COMPONENTS_MAX],
            heights: [0; COMPONENTS_MAX],
        };
        // SAFETY: the bytes are readable for their length; writes two numbers and two arrays of as many
        // as the library has components at most.
        check("GetImageInfo", unsafe {
            (self.functions.image_info)(
                self.object.raw(),
                picture.as_ptr(),
                picture.len(),
                &mut info.components,
                &mut info.subsampling,
                info.widths.as_mut_ptr(),
                info.heights.as_mut_ptr(),
            )
        })?;
        Ok(info)
    }
}

/// A picture, and where its components belong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Picture<'a> {
    pub bytes: &'a [u8],
    /// Device addresses; those of components that it has not are 0.
    pub planes: [u64; PLANES_MAX],
    pub pitch_bytes: usize,
}

impl Picture<'_> {
    fn image(&self) -> Image {
        Image {
            channel: self.planes.map(|at| at as usize as *mut u8),
            pitch: self
                .planes
                .map(|at| if at == 0 { 0 } else { self.pitch_bytes }),
        }
    }
}

/// What a call was told, kept for as long as the device may be at it.
struct Told {
    data: Vec<*const u8>,
    lengths: Vec<usize>,
    images: Vec<Image>,
}

// SAFETY: addresses that only the library looks behind.
unsafe impl Send for Told {}

/// What decoding needs of the device's memory; one call at a time.
pub(super) struct DecodeState {
    object: ManuallyDrop<Object>,
    told: ManuallyDrop<Told>,
    handle: Arc<Handle>,
    /// Work of it is queued on a stream that has not been waited for.
    busy: bool,
}

impl DecodeState {
    /// Makes one; needs a CUDA context on this thread.
    pub fn new(handle: &Arc<Handle>) -> Result<DecodeState, String> {
        let mut raw = ptr::null_mut();
        // SAFETY: the handle is valid; writes one pointer.
        let status = unsafe { (handle.functions.state_create)(handle.object.raw(), &mut raw) };
        check("JpegStateCreate", status).map_err(|failure| failure.to_string())?;
        let object = Object::own(raw, "decode state", handle.functions.state_destroy)?;
        Ok(DecodeState {
            object: ManuallyDrop::new(object),
            told: ManuallyDrop::new(Told {
                data: Vec::new(),
                lengths: Vec::new(),
                images: Vec::new(),
            }),
            handle: handle.clone(),
            busy: false,
        })
    }

    /// Queues the decoding of pictures on a stream, all in one call. After an error work may have been
    /// queued all the same.
    ///
    /// # Safety
    /// `stream` is a live CUstream of the current context. The planes of each picture, as many as
    /// [`Info::components`] says of it and each as high as its heights, have rows of `pitch_bytes` and
    /// may be written by work on the stream. They, the bytes of the pictures and the stream stay as they
    /// are until the stream has been waited for and [`DecodeState::idle`] was called.
    pub unsafe fn decode(
        &mut self,
        pictures: &[Picture<'_>],
        threads: c_int,
        stream: *mut c_void,
    ) -> Result<(), Failure> {
        debug_assert!(!self.busy, "a decode state was asked for two batches");
        self.busy = true;
        let told = &mut *self.told;
        told.data = pictures
            .iter()
            .map(|picture| picture.bytes.as_ptr())
            .collect();
        told.lengths = pictures.iter().map(|picture| picture.bytes.len()).collect();
        told.images = pictures.iter().map(Picture::image).collect();
        let functions = self.handle.functions;
        let (handle, state) = (self.handle.object.raw(), self.object.raw());
        if let ([data], [length], [image]) =
            (&told.data[..], &told.lengths[..], &mut told.images[..])
        {
            // SAFETY: the objects are valid and the state is idle; the rest is the caller's promise.
            return check("Decode", unsafe {
                (functions.decode)(
                    handle,
                    state,
                    *data,
                    *length,
                    OUTPUT_UNCHANGED,
                    image,
                    stream,
                )
            });
        }
        let count = c_int::try_from(pictures.len()).unwrap_or(c_int::MAX);
        // SAFETY: as above; takes numbers.
        check("DecodeBatchedInitialize", unsafe {
            (functions.batch_initialize)(handle, state, count, threads, OUTPUT_UNCHANGED)
        })?;
        // SAFETY: as above; the arrays have an element for each picture of the batch, and stay.
        check("DecodeBatched", unsafe {
            let (data, lengths) = (told.data.as_ptr(), told.lengths.as_ptr());
            (functions.decode_batch)(
                handle,
                state,
                data,
                lengths,
                told.images.as_mut_ptr(),
                stream,
            )
        })
    }

    /// The stream of the last call has been waited for: the state may be used again, or dropped.
    ///
    /// # Safety
    /// It has been, and all its work is done.
    pub unsafe fn idle(&mut self) {
        self.busy = false;
    }
}

impl Drop for DecodeState {
    fn drop(&mut self) {
        if !self.busy {
            // SAFETY: dropped once, here; nothing uses them after.
            unsafe {
                ManuallyDrop::drop(&mut self.object);
                ManuallyDrop::drop(&mut self.told);
            }
        }
    }
}
