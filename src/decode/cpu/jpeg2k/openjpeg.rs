//! OpenJPEG (C, BSD-2) behind a safe function: a codestream in, planes of i32 out.
//!
//! Unsafe because the library is C. What keeps it sound: the caller has checked the picture's size
//! and the number of tiles; all memory of the library is owned by handles that free it on every
//! path; the stream callbacks are bounds-checked here; nothing is kept between calls. Strict mode
//! is left at the library's default on purpose: asking for it explicitly also turns off the repair
//! of a wrong TNsot, which real files need, and turning it off returns partial pixels as success.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use openjpeg_sys as opj;

/// Characters of error messages kept: the library repeats itself on corrupt data.
const MESSAGE_LEN_MAX: usize = 300;

/// Size of the library's read buffer in bytes; it reads larger pieces past it.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// A decoded picture, owned by the library.
pub(super) struct Picture(NonNull<opj::opj_image_t>);

impl Picture {
    /// Number of components.
    pub fn component_count(&self) -> usize {
        // SAFETY: the handle is valid while `self` lives and nobody else writes through it.
        unsafe { self.0.as_ref().numcomps as usize }
    }

    /// The samples of a component, row by row, when it has exactly this size.
    pub fn component(&self, index: usize, columns: u32, rows: u32) -> Option<&[i32]> {
        if index >= self.component_count() {
            return None;
        }
        // SAFETY: `comps` points to `numcomps` components and `index` is below that.
        let component = unsafe { &*self.0.as_ref().comps.add(index) };
        if component.data.is_null() || component.w != columns || component.h != rows {
            return None;
        }
        let len = (columns as usize).checked_mul(rows as usize)?;
        // SAFETY: the library allocates w * h samples for each component it has decoded, and they
        // live as long as the picture.
        Some(unsafe { std::slice::from_raw_parts(component.data, len) })
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        // SAFETY: the handle came from opj_read_header and is destroyed once.
        unsafe { opj::opj_image_destroy(self.0.as_ptr()) }
    }
}

/// A decompressor.
struct Codec(NonNull<opj::opj_codec_t>);

impl Drop for Codec {
    fn drop(&mut self) {
        // SAFETY: the handle came from opj_create_decompress and is destroyed once.
        unsafe { opj::opj_destroy_codec(self.0.as_ptr()) }
    }
}

/// A stream over bytes in memory. The library holds a pointer to `source`, which outlives it.
struct Stream(NonNull<opj::opj_stream_t>);

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the handle came from opj_stream_create and is destroyed once.
        unsafe { opj::opj_stream_destroy(self.0.as_ptr()) }
    }
}

/// What the stream callbacks read from.
struct Source<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What the library had to say.
#[derive(Default)]
struct Messages {
    text: String,
}

impl Messages {
    fn or(self, fallback: &str) -> String {
        if self.text.is_empty() {
            fallback.to_string()
        } else {
            self.text
        }
    }
}

/// Decodes a raw codestream.
pub(super) fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let mut messages = Box::<Messages>::default();
    let decoded = decode_reporting(bytes, &mut messages);
    decoded.map_err(|step| messages.or(step))
}

fn decode_reporting(bytes: &[u8], messages: &mut Messages) -> Result<Picture, &'static str> {
    let mut source = Source { bytes, at: 0 };
    let source_ptr: *mut c_void = ptr::from_mut(&mut source).cast();
    let messages_ptr: *mut c_void = ptr::from_mut(messages).cast();
    // Declared in this order so that codec and stream are destroyed before what they point to.
    let (stream, codec) = open(source_ptr, bytes.len() as u64, messages_ptr)?;
    let (stream_ptr, codec_ptr) = (stream.0.as_ptr(), codec.0.as_ptr());
    let mut image: *mut opj::opj_image_t = ptr::null_mut();
    // SAFETY: both handles are valid; `image` receives a picture that is owned from the next line.
    let read = unsafe { opj::opj_read_header(stream_ptr, codec_ptr, &mut image) };
    let picture = NonNull::new(image).map(Picture);
    let picture = picture
        .filter(|_| read != 0)
        .ok_or("the header cannot be read")?;
    // SAFETY: all three handles are valid and belong together.
    if unsafe { opj::opj_decode(codec_ptr, stream_ptr, picture.0.as_ptr()) } == 0 {
        return Err("the picture cannot be decoded");
    }
    // SAFETY: as above.
    if unsafe { opj::opj_end_decompress(codec_ptr, stream_ptr) } == 0 {
        return Err("the codestream does not end well");
    }
    Ok(picture)
}

fn open(
    source: *mut c_void,
    len: u64,
    messages: *mut c_void,
) -> Result<(Stream, Codec), &'static str> {
    const OUT_OF_MEMORY: &str = "the library cannot allocate its handles";
    // SAFETY: creates a handle or returns null. 1 makes it an input stream.
    let stream = unsafe { opj::opj_stream_create(READ_BUFFER_BYTES, 1) };
    let stream = Stream(NonNull::new(stream).ok_or(OUT_OF_MEMORY)?);
    // SAFETY: as above.
    let codec = unsafe { opj::opj_create_decompress(opj::CODEC_FORMAT::OPJ_CODEC_J2K) };
    let codec = Codec(NonNull::new(codec).ok_or(OUT_OF_MEMORY)?);
    // SAFETY: the handles are valid; `source` and `messages` outlive both (see `decode_reporting`)
    // and match the types the callbacks cast them to; the parameters are a plain C struct that
    // opj_set_default_decoder_parameters fills entirely.
    let ready = unsafe {
        let stream = stream.0.as_ptr();
        opj::opj_stream_set_user_data(stream, source, None);
        opj::opj_stream_set_user_data_length(stream, len);
        opj::opj_stream_set_read_function(stream, Some(read));
        opj::opj_stream_set_skip_function(stream, Some(skip));
        opj::opj_stream_set_seek_function(stream, Some(seek));
        let codec = codec.0.as_ptr();
        opj::opj_set_error_handler(codec, Some(keep_message), messages);
        let mut parameters = MaybeUninit::<opj::opj_dparameters_t>::zeroed();
        opj::opj_set_default_decoder_parameters(parameters.as_mut_ptr());
        opj::opj_setup_decoder(codec, parameters.as_mut_ptr())
    };
    if ready == 0 {
        Err("the decoder cannot be set up")
    } else {
        Ok((stream, codec))
    }
}

/// Reads up to `len` bytes; all ones at the end.
unsafe extern "C" fn read(buffer: *mut c_void, len: usize, source: *mut c_void) -> usize {
    // SAFETY: `source` is the pointer given in `open`, and only the library's one thread uses it.
    let source = unsafe { &mut *source.cast::<Source<'_>>() };
    let rest = source.bytes.get(source.at..).unwrap_or_default();
    let count = len.min(rest.len());
    if count == 0 {
        return usize::MAX;
    }
    // SAFETY: the library gives a buffer of `len` bytes and `count` is at most that and at most
    // what is left of the source; the two do not overlap.
    unsafe { ptr::copy_nonoverlapping(rest.as_ptr(), buffer.cast::<u8>(), count) };
    source.at += count;
    count
}

/// Skips forward up to `len` bytes; -1 at the end or for a negative length, never 0, on which the
/// library would ask again without end.
unsafe extern "C" fn skip(len: i64, source: *mut c_void) -> i64 {
    // SAFETY: as in `read`.
    let source = unsafe { &mut *source.cast::<Source<'_>>() };
    let left = source.bytes.len().saturating_sub(source.at);
    let count = usize::try_from(len).unwrap_or(0).min(left);
    if count == 0 {
        return -1;
    }
    source.at += count;
    // At most `len`, which is an i64.
    count as i64
}

/// Moves to an absolute position within the bytes.
unsafe extern "C" fn seek(to: i64, source: *mut c_void) -> opj::OPJ_BOOL {
    // SAFETY: as in `read`.
    let source = unsafe { &mut *source.cast::<Source<'_>>() };
    match usize::try_from(to) {
        Ok(to) if to <= source.bytes.len() => {
            source.at = to;
            1
        }
        _ => 0,
    }
}

/// Keeps an error message for the caller instead of printing it.
unsafe extern "C" fn keep_message(message: *const c_char, messages: *mut c_void) {
    if message.is_null() || messages.is_null() {
        return;
    }
    // SAFETY: `messages` is the pointer given in `open`; the message is a C string.
    let (messages, message) =
        unsafe { (&mut *messages.cast::<Messages>(), CStr::from_ptr(message)) };
    if messages.text.len() >= MESSAGE_LEN_MAX {
        return;
    }
    if !messages.text.is_empty() {
        messages.text.push_str("; ");
    }
    let printable = message.to_bytes().iter().map(|&byte| {
        if (b' '..=b'~').contains(&byte) {
            char::from(byte)
        } else {
            ' '
        }
    });
    let line: String = printable.take(MESSAGE_LEN_MAX).collect();
    messages.text.push_str(line.trim());
}
