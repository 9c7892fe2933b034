//! Real files, native and RLE: the device's stored values against the MD5 of the data set's oracles.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use dicomfs::decode::cpu::native::native_frame_location;
use dicomfs::decode::gpu::{Codec, Engine, Outcome, Refusal, Show};
use dicomfs::dicom::{FrameTable, Header, ImagePixel, Instance, read_full_at, read_header, syntax};
use md5::{Digest, Md5};
use serde_json::Value;

use crate::cases::{BIG, Batch, Case, DENSE, LITTLE};
use crate::common;
use crate::fake_gpu::libcuda::{Setup, child};

fn codec(uid: &str) -> Option<Codec> {
    match uid {
        "1.2.840.10008.1.2" | "1.2.840.10008.1.2.1" => Some(LITTLE),
        "1.2.840.10008.1.2.2" => Some(BIG),
        "1.2.840.10008.1.2.5" => Some(Codec::Rle),
        _ => None,
    }
}

fn instance(file: &File, len: u64) -> Result<Box<Instance>, String> {
    match read_header(file, len).map_err(|error| error.to_string())? {
        Header::Instance(instance) => Ok(instance),
        Header::Dicomdir => Err("a DICOMDIR".into()),
    }
}

/// The frames of a file, as they are encoded.
fn frames(path: &Path, codec: Codec) -> Result<Vec<Case>, String> {
    let text = |error: std::io::Error| error.to_string();
    let file = File::open(path).map_err(text)?;
    let len = file.metadata().map_err(text)?.len();
    let instance = instance(&file, len)?;
    let image: ImagePixel = instance.image.clone().ok_or("not an image")?;
    let location = instance.pixel_data.ok_or("no pixel data")?;
    let facts = syntax::by_uid(&instance.transfer_syntax_uid).ok_or("unknown syntax")?;
    let read = |offset: u64, len: usize| {
        let mut bytes = vec![0; len];
        let got = read_full_at(&file, offset, &mut bytes).map_err(|error| error.to_string())?;
        bytes.truncate(got);
        Ok::<_, String>(bytes)
    };
    let count = image.number_of_frames;
    let table = facts
        .encapsulated
        .then(|| FrameTable::read(&file, len, &location, count, facts.codec))
        .transpose()
        .map_err(|error| error.to_string())?;
    (0..count)
        .map(|index| {
            let encoded = match &table {
                Some(table) => {
                    let frame = table.frame(index).ok_or("no such frame")?;
                    let parts = frame.fragments.iter();
                    parts
                        .map(|part| read(part.offset_bytes, part.length_bytes as usize))
                        .collect::<Result<Vec<_>, String>>()?
                        .concat()
                }
                None => {
                    let place = native_frame_location(&image, index).ok_or("no such frame")?;
                    read(location.offset_bytes + place.offset_bytes, place.len_bytes)?
                }
            };
            Ok(Case {
                codec,
                image: image.clone(),
                show: Show::Stored,
                encoded,
            })
        })
        .collect()
}

/// Decodes a file on the device and compares it with its oracle. `Ok(false)`: none for the device.
fn compare(engine: &mut Engine, path: &Path, codec: Codec, md5: &Value) -> Result<bool, String> {
    let cases = frames(path, codec)?;
    if cases
        .first()
        .is_none_or(|case| case.image.bits_allocated == 1)
    {
        return Ok(false);
    }
    let mut batch = Batch::new(&cases, DENSE);
    let outcomes = batch.run(engine);
    if outcomes.contains(&Outcome::Refused(Refusal::Samples)) {
        return Ok(false);
    }
    if let Some(bad) = outcomes.iter().find(|outcome| **outcome != Outcome::Done) {
        return Err(format!("{bad:?}"));
    }
    let found: String = Md5::digest(&batch.slab)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if md5 == found.as_str() {
        Ok(true)
    } else {
        Err("other bytes than the oracle's".into())
    }
}

#[test]
fn real_files_give_the_values_of_their_oracles() {
    let test = "files::real_files_give_the_values_of_their_oracles";
    let Some(dir) = common::data_dir(test) else {
        return;
    };
    let ran = child(test, &Setup::default(), || {
        let manifest = std::fs::read_to_string(dir.join("MANIFEST.json")).unwrap();
        let manifest: Vec<Value> = serde_json::from_str(&manifest).unwrap();
        let mut engine = Engine::open(0).unwrap();
        let mut tally: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
        for entry in &manifest {
            let expected = &entry["expected"];
            let uid = expected["transfer_syntax"].as_str().unwrap_or_default();
            let whole = expected["status"] == "ok" && expected["lossless"] == true;
            let Some(codec) = codec(uid).filter(|_| whole) else {
                continue;
            };
            let name = entry["file"].as_str().unwrap();
            let (right, left) = tally.entry(uid).or_default();
            match compare(
                &mut engine,
                &dir.join(name),
                codec,
                &expected["oracle"]["md5"],
            ) {
                Ok(true) => *right += 1,
                Ok(false) => *left += 1,
                Err(why) => panic!("{name}: {why}"),
            }
        }
        for (uid, (right, left)) in &tally {
            println!("{uid}: {right} files equal, {left} not for the device");
        }
        assert!(tally.values().map(|(right, _)| right).sum::<u32>() > 100);
        assert!(tally.len() >= 4, "{tally:?}");
    });
    if let Some(ran) = ran {
        println!("{}", ran.assert_passed().output);
    }
}
