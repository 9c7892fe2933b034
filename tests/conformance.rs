//! Every decoder against every file of the data set: `../shared/data/MANIFEST.json` says what each
//! file must decode to, and by which other decoders that was found.
//!
//! Lossless syntaxes must give the same bytes (MD5). Lossy ones must give the same bytes or, where
//! the oracles differ among themselves by rounding, the same dtype and shape, minimum and maximum
//! within [`EXTREME_TOLERANCE`] and mean within [`MEAN_TOLERANCE`]. Files that cannot be decoded
//! must be errors, never pixels. Without the data the test says so and passes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use dicomfs::decode::cpu::native::native_frame_location;
use dicomfs::decode::values::stored_dtype;
use dicomfs::decode::{Encoded, decode_frame};
use dicomfs::dicom::deflate::read_deflated;
use dicomfs::dicom::{
    FrameTable, Header, Instance, PixelDataLocation, read_full_at, read_header, syntax,
};
use dicomfs::volume::Dtype;
use md5::{Digest, Md5};
use serde_json::Value;

/// Stored values by which minimum and maximum of a lossy image may differ from the oracle's.
const EXTREME_TOLERANCE: f64 = 2.0;

/// Stored values by which the mean of a lossy image may differ from the oracle's: decoders round
/// the inverse transforms differently, by 1 in some samples.
const MEAN_TOLERANCE: f64 = 0.03;

fn data_dir() -> Option<PathBuf> {
    let dir = std::env::var_os("DICOMFS_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    dir.join("MANIFEST.json").is_file().then_some(dir)
}

fn manifest(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("MANIFEST.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// An instance with the stored values of all its frames.
struct Decoded {
    instance: Instance,
    stored: Vec<u8>,
}

/// Header, then frame by frame what a mount does, but for caches: any failure is an `Err`.
fn decode_file(path: &Path) -> Result<Decoded, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let len = file.metadata().map_err(|error| error.to_string())?.len();
    let header = read_header(&file, len).map_err(|error| error.to_string())?;
    let Header::Instance(instance) = header else {
        return Err("a DICOMDIR".into());
    };
    let image = instance.image.clone().ok_or("not an image")?;
    let location = instance.pixel_data.ok_or("no pixel data")?;
    let frame_len = image.frame_len_bytes().ok_or("too large")?;
    let mut stored = vec![0; frame_len * image.number_of_frames as usize];
    let source = Source {
        file: &file,
        len,
        instance: &instance,
        location,
    };
    let table = source.frame_table()?;
    for (index, out) in stored.chunks_exact_mut(frame_len.max(1)).enumerate() {
        let (bytes, first_bit) = source.frame_bytes(table.as_ref(), index as u32)?;
        let encoded = Encoded {
            bytes: &bytes,
            first_bit,
        };
        decode_frame(&instance.transfer_syntax_uid, &image, encoded, out)
            .map_err(|error| error.to_string())?;
    }
    Ok(Decoded {
        instance: *instance,
        stored,
    })
}

/// Where the encoded bytes come from.
struct Source<'a> {
    file: &'a File,
    len: u64,
    instance: &'a Instance,
    location: PixelDataLocation,
}

impl Source<'_> {
    /// The fragments of encapsulated pixel data; `None` for native pixel data.
    fn frame_table(&self) -> Result<Option<FrameTable>, String> {
        let uid = &self.instance.transfer_syntax_uid;
        let facts = syntax::by_uid(uid).ok_or_else(|| format!("unknown syntax {uid}"))?;
        if !facts.encapsulated {
            return Ok(None);
        }
        let frames = self
            .instance
            .image
            .as_ref()
            .map_or(1, |image| image.number_of_frames);
        FrameTable::read(self.file, self.len, &self.location, frames, facts.codec)
            .map(Some)
            .map_err(|error| error.to_string())
    }

    /// What the file holds of one frame; a frame cut short goes to the decoder as it is.
    fn frame_bytes(&self, table: Option<&FrameTable>, index: u32) -> Result<(Vec<u8>, u8), String> {
        if let Some(table) = table {
            let frame = table.frame(index).ok_or("no such frame")?;
            let mut bytes = Vec::new();
            for fragment in frame.fragments {
                bytes.extend(self.read(fragment.offset_bytes, fragment.length_bytes as usize)?);
            }
            return Ok((bytes, 0));
        }
        let image = self.instance.image.as_ref().ok_or("not an image")?;
        let frame = native_frame_location(image, index).ok_or("no such frame")?;
        let offset = self.location.offset_bytes + frame.offset_bytes;
        Ok((self.read(offset, frame.len_bytes)?, frame.first_bit))
    }

    fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, String> {
        let deflated =
            syntax::by_uid(&self.instance.transfer_syntax_uid).is_some_and(|facts| facts.deflated);
        let mut bytes = vec![0; len];
        if deflated {
            read_deflated(self.file, self.len, offset, &mut bytes)
                .map_err(|error| error.to_string())?;
            return Ok(bytes);
        }
        let got = read_full_at(self.file, offset, &mut bytes).map_err(|error| error.to_string())?;
        bytes.truncate(got);
        Ok(bytes)
    }
}

fn md5_hex(bytes: &[u8]) -> String {
    Md5::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn numpy_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::U8 => "uint8",
        Dtype::I8 => "int8",
        Dtype::U16 => "uint16",
        Dtype::I16 => "int16",
        Dtype::U32 => "uint32",
        Dtype::I32 => "int32",
        Dtype::U64 => "uint64",
        Dtype::I64 => "int64",
        Dtype::F16 => "float16",
        Dtype::F32 => "float32",
        Dtype::F64 => "float64",
    }
}

/// Minimum, maximum and mean of 8- and 16-bit samples, which is what lossy syntaxes hold.
fn extremes_and_mean(dtype: Dtype, stored: &[u8]) -> [f64; 3] {
    let pairs = || stored.chunks_exact(2).map(|two| [two[0], two[1]]);
    let values: Vec<f64> = match dtype {
        Dtype::U8 => stored.iter().map(|&byte| f64::from(byte)).collect(),
        Dtype::I8 => stored.iter().map(|&byte| f64::from(byte as i8)).collect(),
        Dtype::U16 => pairs()
            .map(|two| f64::from(u16::from_le_bytes(two)))
            .collect(),
        Dtype::I16 => pairs()
            .map(|two| f64::from(i16::from_le_bytes(two)))
            .collect(),
        other => panic!("lossy samples of {}", other.descr()),
    };
    [
        values.iter().copied().fold(f64::INFINITY, f64::min),
        values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        values.iter().sum::<f64>() / values.len() as f64,
    ]
}

/// Compares a decoded file with its oracle.
fn compare(decoded: &Decoded, expected: &Value) -> Result<(), String> {
    let oracle = &expected["oracle"];
    let image = decoded.instance.image.as_ref().ok_or("not an image")?;
    let dtype = stored_dtype(image).ok_or("no dtype")?;
    if oracle["dtype"] != numpy_name(dtype) {
        return Err(format!(
            "dtype {} for {}",
            numpy_name(dtype),
            oracle["dtype"]
        ));
    }
    let count: u64 = oracle["shape"].as_array().map_or(0, |shape| {
        shape
            .iter()
            .map(|extent| extent.as_u64().unwrap_or(0))
            .product()
    });
    if count as usize * dtype.itemsize() != decoded.stored.len() {
        return Err(format!(
            "{} bytes for shape {}",
            decoded.stored.len(),
            oracle["shape"]
        ));
    }
    if oracle["md5"] == md5_hex(&decoded.stored).as_str() {
        return Ok(());
    }
    if expected["lossless"] == true {
        return Err("other bytes than the oracle's".into());
    }
    let got = extremes_and_mean(dtype, &decoded.stored);
    let tolerances = [EXTREME_TOLERANCE, EXTREME_TOLERANCE, MEAN_TOLERANCE];
    for ((name, got), tolerance) in ["min", "max", "mean"].into_iter().zip(got).zip(tolerances) {
        let want = oracle[name]
            .as_f64()
            .ok_or("an oracle without statistics")?;
        if (got - want).abs() > tolerance {
            return Err(format!("{name} {got} for {want}"));
        }
    }
    Ok(())
}

/// Files that pydicom and its plugins cannot decode and that are right all the same: the file that
/// holds the same pixels in another syntax.
const DECODABLE_HERE: [(&str, &str); 1] = [(
    "single/pydicom-data/liver_rle.dcm",
    "single/pydicom-data/liver_j2k.dcm",
)];

#[test]
fn every_file_decodes_to_its_oracle() {
    let Some(dir) = data_dir() else {
        println!("left out: no data set (DICOMFS_DATA or ../shared/data)");
        return;
    };
    let mut tally: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let mut failures = Vec::new();
    for entry in manifest(&dir) {
        let expected = &entry["expected"];
        if !matches!(expected["status"].as_str(), Some("ok" | "decoders-differ")) {
            continue;
        }
        let name = entry["file"].as_str().unwrap();
        let kind = if expected["lossless"] == true {
            "exact"
        } else {
            "within tolerance"
        };
        let uid = expected["transfer_syntax"].as_str().unwrap();
        let (right, all) = tally.entry(format!("{uid} {kind}")).or_default();
        *all += 1;
        match decode_file(&dir.join(name)).and_then(|decoded| compare(&decoded, expected)) {
            Ok(()) => *right += 1,
            Err(error) => failures.push(format!("{name} ({uid}): {error}")),
        }
    }
    for (kind, (right, all)) in &tally {
        println!("{kind}: {right}/{all}");
    }
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(
        tally.len() >= 19,
        "the manifest lost transfer syntaxes: {tally:?}"
    );
}

#[test]
fn what_cannot_be_decoded_is_an_error() {
    let Some(dir) = data_dir() else {
        println!("left out: no data set (DICOMFS_DATA or ../shared/data)");
        return;
    };
    let mut seen = 0;
    for entry in manifest(&dir) {
        let status = entry["expected"]["status"].as_str();
        if !matches!(status, Some("corrupt-must-error" | "undecodable")) {
            continue;
        }
        let name = entry["file"].as_str().unwrap();
        seen += 1;
        match (
            decode_file(&dir.join(name)),
            DECODABLE_HERE.iter().find(|(file, _)| *file == name),
        ) {
            (Err(error), None) => println!("{name}: {error}"),
            (Err(error), Some(_)) => panic!("{name}: {error}"),
            (Ok(decoded), Some((_, twin))) => {
                let twin = decode_file(&dir.join(twin)).unwrap();
                assert!(
                    decoded.stored == twin.stored,
                    "{name} differs from its twin"
                );
            }
            (Ok(_), None) => panic!("{name} decoded, and must not"),
        }
    }
    assert!(seen > 5, "the manifest lost its broken files");
}

/// The first frame of a file as it is encoded, with what it decodes to.
fn first_frame(path: &Path) -> Result<(Instance, Vec<u8>, Vec<u8>), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let len = file.metadata().map_err(|error| error.to_string())?.len();
    let Header::Instance(instance) = read_header(&file, len).map_err(|e| e.to_string())? else {
        return Err("a DICOMDIR".into());
    };
    let image = instance.image.clone().ok_or("not an image")?;
    let location = instance.pixel_data.ok_or("no pixel data")?;
    let source = Source {
        file: &file,
        len,
        instance: &instance,
        location,
    };
    let table = source.frame_table()?;
    let (bytes, first_bit) = source.frame_bytes(table.as_ref(), 0)?;
    let mut stored = vec![0; image.frame_len_bytes().ok_or("too large")?];
    let encoded = Encoded {
        bytes: &bytes,
        first_bit,
    };
    decode_frame(&instance.transfer_syntax_uid, &image, encoded, &mut stored)
        .map_err(|error| error.to_string())?;
    Ok((*instance, bytes, stored))
}

/// Decodes other bytes as if they were the instance's frame.
fn decode_as(instance: &Instance, bytes: &[u8], out: &mut [u8]) -> Result<(), String> {
    let image = instance.image.as_ref().ok_or("not an image")?;
    let encoded = Encoded {
        bytes,
        first_bit: 0,
    };
    decode_frame(&instance.transfer_syntax_uid, image, encoded, out)
        .map_err(|error| error.to_string())
}

/// The encapsulated files of the data set, once each set of slices.
fn encapsulated_files(dir: &Path) -> Vec<PathBuf> {
    let mut volumes = std::collections::BTreeSet::new();
    let mut files = Vec::new();
    for entry in manifest(dir) {
        let uid = entry["expected"]["transfer_syntax"]
            .as_str()
            .unwrap_or_default();
        let status = entry["expected"]["status"].as_str();
        let encapsulated = syntax::by_uid(uid).is_some_and(|facts| facts.encapsulated);
        if !encapsulated || !matches!(status, Some("ok" | "decoders-differ")) {
            continue;
        }
        let name = PathBuf::from(entry["file"].as_str().unwrap());
        let parent = name.parent().map(Path::to_path_buf);
        if !name.starts_with("volumes") || volumes.insert(parent) {
            files.push(dir.join(name));
        }
    }
    files
}

#[test]
fn a_frame_cut_short_is_an_error_or_complete() {
    let Some(dir) = data_dir() else {
        println!("left out: no data set (DICOMFS_DATA or ../shared/data)");
        return;
    };
    let mut cuts = 0;
    for path in encapsulated_files(&dir) {
        let (instance, bytes, stored) = first_frame(&path).unwrap();
        let mut out = vec![0; stored.len()];
        let tail = (1..=8).map(|back| bytes.len().saturating_sub(back));
        let spread = (0..16).map(|part| bytes.len() * part / 16);
        for cut in spread.chain(tail) {
            cuts += 1;
            // A stream that only lost its padding or its end marker may still be decoded.
            if decode_as(&instance, &bytes[..cut], &mut out).is_ok() {
                assert!(
                    out == stored,
                    "{} cut at {cut} of {}",
                    path.display(),
                    bytes.len()
                );
            }
        }
    }
    println!("{cuts} cuts");
}

#[test]
fn a_corrupt_frame_neither_panics_nor_hangs() {
    let Some(dir) = data_dir() else {
        println!("left out: no data set (DICOMFS_DATA or ../shared/data)");
        return;
    };
    let rounds: u32 = std::env::var("DICOMFS_MUTATIONS").map_or(4, |text| text.parse().unwrap());
    let mut state = 2026u32;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let mut slowest = std::time::Duration::ZERO;
    for path in encapsulated_files(&dir) {
        let (instance, bytes, stored) = first_frame(&path).unwrap();
        let mut out = vec![0; stored.len()];
        for _ in 0..rounds {
            let mut mutated = bytes.clone();
            for _ in 0..1 + random(4) {
                // Headers first: half of the changes fall into the first 256 bytes.
                let within = if random(2) == 0 {
                    bytes.len().min(256)
                } else {
                    bytes.len()
                };
                mutated[random(within)] = random(256) as u8;
            }
            let start = std::time::Instant::now();
            if let Err(error) = decode_as(&instance, &mutated, &mut out) {
                assert!(!error.contains("panicked"), "{}: {error}", path.display());
            }
            slowest = slowest.max(start.elapsed());
        }
    }
    println!("slowest frame {slowest:?}");
    assert!(slowest.as_secs() < 20, "a corrupt frame took {slowest:?}");
}
