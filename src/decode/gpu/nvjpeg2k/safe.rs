//! The library's objects as types that own them, and the one way to have a picture decoded.
//!
//! Unsafe because the library is C and writes to device memory by address. What keeps it sound:
//! each object is made and destroyed once, by its type; a decode state is not used again, and the
//! codestream it reads neither moves nor goes, before the stream that its work was queued on has
//! been waited for ([`InFlight`]); what cannot be waited for any more is leaked. The addresses are
//! the caller's promise ([`Streams`]). Must not know batches or threads.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::planes::{COMPONENTS_MAX, Planes, Sample};
use super::result::{Failure, check};
use super::sys::{ComponentInfo, FORMAT_PLANAR, Functions, INT16, Image, ImageInfo};
use super::sys::{Opaque, UINT8, UINT16};
use crate::decode::gpu::library::Version;

/// Where the planes of a frame belong in device memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// Device address of each component's plane.
    pub planes: [u64; COMPONENTS_MAX],
    /// Bytes from one row of a plane to the next: [`Planes::row_len_bytes`] or more.
    pub pitch_bytes: usize,
}

/// What the decoder needs of a device: streams, memory for planes, and to wait.
///
/// Streams are numbered from 0. They are used from several threads, each stream from one of them.
///
/// # Safety
/// - [`Streams::stream`] is a live CUstream of the CUDA context that [`Streams::enter`] makes current.
/// - Each plane that [`Streams::planes`] gives is a pitch times [`Planes::rows`] long, writable by
///   work on that stream, and used by nothing but work on that stream until [`Streams::wait`] for it
///   has returned.
/// - [`Streams::wait`] is `Ok` only when all work that was queued on the stream is done.
pub unsafe trait Streams: Sync {
    /// How many streams there are: so many pictures are decoded at once, at most.
    fn count(&self) -> usize;

    /// Makes the device's CUDA context current on the calling thread.
    ///
    /// # Errors
    /// The device is lost.
    fn enter(&self) -> Result<(), String>;

    /// The CUstream.
    fn stream(&self, index: usize) -> *mut c_void;

    /// Device memory for the planes of frame `frame`, which is decoded on stream `index` next.
    ///
    /// # Errors
    /// There is no memory for it: this frame has failed, others have not.
    fn planes(&self, index: usize, frame: usize, planes: &Planes) -> Result<Places, String>;

    /// The planes of `frame` have been queued on stream `index`: what is to be made of them may be
    /// queued behind.
    ///
    /// # Errors
    /// The device is lost.
    fn decoded(&self, index: usize, frame: usize, planes: &Planes) -> Result<(), String>;

    /// Waits for all work on stream `index`.
    ///
    /// # Errors
    /// The device is lost.
    fn wait(&self, index: usize) -> Result<(), String>;
}

type Destroy = unsafe extern "C" fn(Opaque) -> c_int;

/// An object of the library.
struct Object {
    raw: NonNull<c_void>,
    name: &'static str,
    destroy: Destroy,
}

// SAFETY: the objects hold host and device memory, and nothing that belongs to a thread.
unsafe impl Send for Object {}

impl Object {
    fn own(raw: Opaque, name: &'static str, destroy: Destroy) -> Result<Object, String> {
        let raw = NonNull::new(raw).ok_or_else(|| format!("nvJPEG2000 made no {name}"))?;
        Ok(Object { raw, name, destroy })
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
        if let Err(failure) = check(self.name, status) {
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

/// The library's instance.
pub(super) struct Handle {
    functions: &'static Functions,
    object: Object,
}

// SAFETY: nvjpeg2kHandle_t "is thread safe and can be used by multiple threads simultaneously"
// (nvjpeg2k.h).
unsafe impl Sync for Handle {}

impl Handle {
    /// Makes one, with the library's own allocators.
    pub fn new(functions: &'static Functions) -> Result<Arc<Handle>, String> {
        let mut raw = ptr::null_mut();
        // SAFETY: writes one pointer.
        let status = unsafe { (functions.create_simple)(&mut raw) };
        check("CreateSimple", status).map_err(|failure| failure.to_string())?;
        let object = Object::own(raw, "handle", functions.destroy)?;
        Ok(Arc::new(Handle { functions, object }))
    }
}

/// How the output is laid out: planes, and no colour conversion but the codestream's own component
/// transform. The library's "RGB output" would convert what JP2 boxes call sYCC, which no other
/// decoder of DICOM does.
struct Params(Object);

impl Params {
    fn new(handle: &Handle) -> Result<Params, String> {
        let functions = handle.functions;
        let mut raw = ptr::null_mut();
        // SAFETY: writes one pointer.
        let status = unsafe { (functions.params_create)(&mut raw) };
        check("DecodeParamsCreate", status).map_err(|failure| failure.to_string())?;
        let object = Object::own(raw, "decode parameters", functions.params_destroy)?;
        // SAFETY: the object was just made.
        let status = unsafe { (functions.params_set_rgb)(object.raw(), 0) };
        check("DecodeParamsSetRGBOutput", status).map_err(|failure| failure.to_string())?;
        // SAFETY: as above.
        let status = unsafe { (functions.params_set_format)(object.raw(), FORMAT_PLANAR) };
        check("DecodeParamsSetOutputFormat", status).map_err(|failure| failure.to_string())?;
        Ok(Params(object))
    }
}

/// A codestream that the library has read, with the bytes it may still point into.
pub(super) struct Parsed<'a> {
    object: Object,
    planes: Planes,
    bytes: PhantomData<&'a [u8]>,
}

impl<'a> Parsed<'a> {
    /// Has a codestream without boxes read, on the CPU alone. The inner error says what is wrong with
    /// the picture; the outer is the library's.
    pub fn new(handle: &Handle, bytes: &'a [u8]) -> Result<Result<Parsed<'a>, String>, Failure> {
        let functions = handle.functions;
        let mut raw = ptr::null_mut();
        // SAFETY: writes one pointer.
        check("StreamCreate", unsafe {
            (functions.stream_create)(&mut raw)
        })?;
        let object = match Object::own(raw, "stream", functions.stream_destroy) {
            Ok(object) => object,
            Err(why) => return Ok(Err(why)),
        };
        // SAFETY: the bytes are readable for their length and, by the lifetime of the result, for as
        // long as the library may look at them.
        check("StreamParse", unsafe {
            let (data, len) = (bytes.as_ptr(), bytes.len());
            (functions.stream_parse)(handle.object.raw(), data, len, 0, 0, object.raw())
        })?;
        let planes = describe(functions, &object)?;
        Ok(planes.map(|planes| Parsed {
            object,
            planes,
            bytes: PhantomData,
        }))
    }

    /// What the library will decode.
    pub fn planes(&self) -> &Planes {
        &self.planes
    }
}

/// Asks the library what it has understood.
fn describe(functions: &Functions, stream: &Object) -> Result<Result<Planes, String>, Failure> {
    let mut image = ImageInfo::default();
    // SAFETY: the stream has been parsed; writes one structure.
    check("StreamGetImageInfo", unsafe {
        (functions.stream_image_info)(stream.raw(), &mut image)
    })?;
    let components = image.num_components;
    if components == 0 || components as usize > COMPONENTS_MAX {
        return Ok(Err(format!("{components} components")));
    }
    let mut first = None;
    for index in 0..components {
        let mut component = ComponentInfo::default();
        // SAFETY: the index is below the number of components; writes one structure.
        check("StreamGetImageComponentInfo", unsafe {
            (functions.stream_component_info)(stream.raw(), &mut component, index)
        })?;
        if *first.get_or_insert(component) != component {
            return Ok(Err("components that differ".into()));
        }
    }
    let ComponentInfo {
        component_width: columns,
        component_height: rows,
        precision,
        sgn,
    } = first.unwrap_or_default();
    if (columns, rows) != (image.image_width, image.image_height) {
        return Ok(Err("subsampled components".into()));
    }
    Ok(Planes::new(
        rows,
        columns,
        components,
        precision.into(),
        sgn != 0,
    ))
}

/// What decoding a picture needs of the device's memory; one picture at a time.
pub(super) struct DecodeState {
    object: ManuallyDrop<Object>,
    params: ManuallyDrop<Params>,
    handle: Arc<Handle>,
    /// Work of it is queued on a stream that has not been waited for.
    busy: bool,
}

impl DecodeState {
    /// Makes one; needs a CUDA context on this thread.
    pub fn new(handle: &Arc<Handle>) -> Result<DecodeState, String> {
        let functions = handle.functions;
        let params = Params::new(handle)?;
        let mut raw = ptr::null_mut();
        // SAFETY: the handle is valid; writes one pointer.
        let status = unsafe { (functions.decode_state_create)(handle.object.raw(), &mut raw) };
        check("DecodeStateCreate", status).map_err(|failure| failure.to_string())?;
        let object = Object::own(raw, "decode state", functions.decode_state_destroy)?;
        Ok(DecodeState {
            object: ManuallyDrop::new(object),
            params: ManuallyDrop::new(params),
            handle: handle.clone(),
            busy: false,
        })
    }

    /// Queues the decoding of a picture on a stream. Where the inner result is an error, work may
    /// have been queued all the same.
    ///
    /// # Errors
    /// There is no memory for the planes: nothing was queued.
    pub fn submit<'a>(
        &mut self,
        parsed: Parsed<'a>,
        streams: &impl Streams,
        (index, frame): (usize, usize),
    ) -> Result<(InFlight<'a>, Result<(), Failure>), String> {
        if self.busy {
            return Err("a decode state was asked for two pictures".into());
        }
        let planes = parsed.planes;
        let places = streams.planes(index, frame, &planes)?;
        if places.pitch_bytes < planes.row_len_bytes() {
            return Err(format!("rows of {} bytes", places.pitch_bytes));
        }
        let mut addresses = places.planes.map(|at| at as usize as *mut c_void);
        let mut pitches = [places.pitch_bytes; COMPONENTS_MAX];
        let mut image = Image {
            pixel_data: addresses.as_mut_ptr(),
            pitch_in_bytes: pitches.as_mut_ptr(),
            pixel_type: match planes.sample {
                Sample::U8 => UINT8,
                Sample::U16 => UINT16,
                Sample::I16 => INT16,
            },
            num_components: planes.components,
        };
        self.busy = true;
        let handle = &self.handle;
        // SAFETY: all objects are valid and the state is idle; the arrays are as long as there are
        // components and outlive the call; addresses and stream are right by the contract of
        // `Streams`; state, codestream and its bytes are kept until the stream was waited for.
        let status = unsafe {
            (handle.functions.decode_image)(
                handle.object.raw(),
                self.object.raw(),
                parsed.object.raw(),
                self.params.0.raw(),
                &mut image,
                streams.stream(index),
            )
        };
        let in_flight = InFlight {
            parsed: ManuallyDrop::new(parsed),
            index,
        };
        Ok((in_flight, check("DecodeImage", status)))
    }

    /// Waits until the device has done with a picture of this state.
    ///
    /// # Errors
    /// The device is lost: the state will not be used again, nor freed.
    pub fn wait(&mut self, in_flight: InFlight<'_>, streams: &impl Streams) -> Result<(), String> {
        streams.wait(in_flight.index)?;
        self.busy = false;
        drop(ManuallyDrop::into_inner(in_flight.parsed));
        Ok(())
    }
}

impl Drop for DecodeState {
    fn drop(&mut self) {
        if !self.busy {
            // SAFETY: dropped once, here; nothing uses them after.
            unsafe {
                ManuallyDrop::drop(&mut self.object);
                ManuallyDrop::drop(&mut self.params);
            }
        }
    }
}

/// A picture that the device may be at. Dropping it leaks the library's stream, which may be in use;
/// [`DecodeState::wait`] frees it.
pub(super) struct InFlight<'a> {
    parsed: ManuallyDrop<Parsed<'a>>,
    index: usize,
}
