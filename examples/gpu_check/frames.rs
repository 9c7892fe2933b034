//! Encoded frames of DICOM files, as the archive holds them. Knows files and nothing of devices.

use std::fs::File;
use std::path::{Path, PathBuf};

use dicomfs::decode::cpu::native::native_frame_location;
use dicomfs::dicom::{FrameTable, Header, ImagePixel, PixelDataLocation};
use dicomfs::dicom::{read_full_at, read_header, syntax};

/// A file with frames.
pub struct Frames {
    file: File,
    location: PixelDataLocation,
    /// Of encapsulated frames.
    table: Option<FrameTable>,
    pub uid: String,
    pub image: ImagePixel,
}

/// All files below a directory, in an order of their own that is the same each time.
pub fn files(root: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(root)
        .follow_links(true)
        .sort_by_file_name();
    let files = entries.into_iter().filter_map(Result::ok);
    let files = files.filter(|entry| entry.file_type().is_file());
    files.map(walkdir::DirEntry::into_path).collect()
}

impl Frames {
    /// Opens a file; `None` where a mount would show no frames that can be found by their place.
    pub fn open(path: &Path) -> Option<Frames> {
        let file = File::open(path).ok()?;
        let len = file.metadata().ok()?.len();
        let Ok(Header::Instance(instance)) = read_header(&file, len) else {
            return None;
        };
        let (image, location) = (instance.image?, instance.pixel_data?);
        let uid = instance.transfer_syntax_uid;
        let facts = syntax::by_uid(&uid)?;
        let count = image.number_of_frames;
        let table = match facts.encapsulated {
            true => Some(FrameTable::read(&file, len, &location, count, facts.codec).ok()?),
            false => None,
        };
        Some(Frames {
            file,
            location,
            table,
            uid,
            image,
        })
    }

    pub fn count(&self) -> u32 {
        self.image.number_of_frames
    }

    /// One frame's encoded bytes; `None` if the file does not hold all of it.
    pub fn encoded(&self, index: u32) -> Option<Vec<u8>> {
        let Some(table) = &self.table else {
            let place = native_frame_location(&self.image, index)?;
            return self.read(
                self.location.offset_bytes + place.offset_bytes,
                place.len_bytes,
            );
        };
        let mut bytes = Vec::new();
        for part in table.frame(index)?.fragments {
            let len = usize::try_from(part.length_bytes).ok()?;
            bytes.extend(self.read(part.offset_bytes, len)?);
        }
        Some(bytes)
    }

    fn read(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        let got = read_full_at(&self.file, offset, &mut bytes).ok()?;
        (got == len).then_some(bytes)
    }
}
