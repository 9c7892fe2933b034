//! De-identification of files, without a mount: every attribute of Table E.1-1 of PS3.15, in every
//! encoding, at the top and within sequences. What comes out is read by dicom-object.

mod common;
#[path = "common/patient.rs"]
mod patient;

use std::path::Path;

use dicom_core::header::Header;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, InMemDicomObject, OpenFileOptions};
use dicomfs::dicom::Deid;
use dicomfs::dicom::deid::table::Action;
use dicomfs::dicom::deid::{Rewritten, rewrite};
use patient::{DATE, ROOT, SECRET};

const IMPLICIT: &str = "1.2.840.10008.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

fn deid() -> Deid {
    Deid::new(&[7; 32]).expect("a key")
}

fn rewritten(file: &Vec<u8>) -> (Rewritten, Vec<u8>) {
    let rewritten = rewrite(file, file.len() as u64, &deid()).expect("rewritten");
    let all = rewritten
        .read(file, 0..rewritten.len_bytes())
        .expect("read");
    assert_eq!(all.len() as u64, rewritten.len_bytes());
    // In pieces it is the same.
    let mut pieces = Vec::new();
    while pieces.len() < all.len() {
        let start = pieces.len() as u64;
        let end = (start + 9973).min(all.len() as u64);
        pieces.extend(rewritten.read(file, start..end).expect("read"));
    }
    assert!(pieces == all);
    (rewritten, all)
}

fn parsed(bytes: &[u8]) -> DefaultDicomObject {
    OpenFileOptions::new()
        .read_preamble(dicom_object::file::ReadPreamble::Always)
        .from_reader(bytes)
        .expect("dicom-object reads it")
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

fn nothing_survives(bytes: &[u8]) {
    for text in [
        SECRET, ROOT, DATE, "042Y", "98700", "98710", "98730", "99LOCAL",
    ] {
        let found = bytes
            .windows(text.len())
            .position(|part| part == text.as_bytes());
        let around =
            found.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(20)..at + 20]));
        assert!(found.is_none(), "{text} survives: {around:?}");
    }
    let wide: Vec<u8> = SECRET.bytes().flat_map(|byte| [byte, 0]).collect();
    assert!(!bytes.windows(wide.len()).any(|part| part == wide));
}

fn check_rows(object: &InMemDicomObject, is_top: bool) {
    for (tag, row) in patient::rows() {
        let found = object.element_opt(tag).expect("an object");
        let vr = patient::vr_of(tag);
        let is_moved = row.is_time && [VR::DA, VR::DT, VR::TM].contains(&vr);
        let keyword = row.keyword;
        if is_top && [tags::PATIENT_ID, tags::PATIENT_NAME].contains(&tag) {
            let text = found.expect(keyword).to_str().expect("text");
            assert!(text.starts_with("DEID-"), "{keyword} {text}");
            continue;
        }
        match (row.action, is_moved) {
            (_, true) => {
                let text = found.expect(keyword).to_str().expect("text");
                assert!(!text.is_empty() && !text.contains(DATE), "{keyword} {text}");
            }
            (Action::X, _) => assert!(found.is_none(), "{keyword}"),
            (Action::Z | Action::Xz, _) => {
                let is_empty = found.expect(keyword).header().len.0 == 0;
                assert!(is_empty, "{keyword}");
            }
            (Action::U, _) => {
                let text = found.expect(keyword).to_str().expect("text");
                assert!(text.starts_with("2.25."), "{keyword} {text}");
            }
            _ => {
                let is_empty = found.expect(keyword).header().len.0 == 0;
                assert!(!is_empty, "{keyword}");
            }
        }
    }
}

fn text(object: &InMemDicomObject, tag: Tag) -> String {
    let element = object.element(tag).expect("an element");
    element
        .to_str()
        .expect("text")
        .trim_end_matches('\0')
        .to_owned()
}

fn item(object: &InMemDicomObject, tag: Tag) -> &InMemDicomObject {
    let items = object.element(tag).expect("a sequence").items();
    items.expect("items").first().expect("an item")
}

#[test]
fn no_attribute_of_the_table_survives() {
    assert!(patient::rows().count() > 600);
    for syntax in [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED] {
        let original = patient::file(patient::whole(1), syntax);
        let (_, bytes) = rewritten(&original);
        assert!(contains(&original, SECRET) && bytes[..128] == [0; 128]);
        nothing_survives(&bytes);
        let object = parsed(&bytes);
        check_rows(&object, true);
        let nested = item(&object, Tag(0x0040, 0x0260));
        check_rows(nested, false);
        check_rows(item(nested, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE), false);

        for tag in [
            Tag(0x0009, 0x0010),
            Tag(0x0008, 0x9FFE),
            Tag(0x5000, 0x0030),
        ] {
            assert!(
                object.element_opt(tag).expect("an object").is_none(),
                "{tag}"
            );
        }
        assert!(object.iter().all(|element| {
            let tag = element.tag();
            tag.0 % 2 == 0 && !matches!(tag.0 >> 8, 0x50 | 0x60 | 0xFF)
        }));
        let pixels = object.element(tags::PIXEL_DATA).expect("pixels");
        let pixels = pixels.to_multi_int::<u16>().expect("numbers");
        assert_eq!(pixels, patient::pixels(1), "{syntax}");
    }
}

#[test]
fn it_is_said_that_and_how() {
    let (_, bytes) = rewritten(&patient::file(patient::whole(1), EXPLICIT));
    let object = parsed(&bytes);
    assert_eq!(text(&object, tags::PATIENT_IDENTITY_REMOVED), "YES");
    let modified = tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED;
    assert_eq!(text(&object, modified), "MODIFIED");
    assert!(text(&object, tags::DEIDENTIFICATION_METHOD).contains("PS3.15"));
    let codes = object.element(tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE);
    let codes = codes.expect("codes").items().expect("items");
    let codes: Vec<String> = codes.iter().map(|c| text(c, tags::CODE_VALUE)).collect();
    assert_eq!(codes, ["113100", "113107"]);
    // Whoever looks at the pixels has to know.
    assert_eq!(text(&object, tags::BURNED_IN_ANNOTATION), "YES");
    let tags: Vec<Tag> = object.iter().map(|element| element.tag()).collect();
    assert!(tags.is_sorted(), "{tags:?}");
}

#[test]
fn file_meta_information_is_anew() {
    for (syntax, expected) in [
        (EXPLICIT, EXPLICIT),
        (IMPLICIT, IMPLICIT),
        (DEFLATED, EXPLICIT),
    ] {
        let (_, bytes) = rewritten(&patient::file(patient::whole(1), syntax));
        let object = parsed(&bytes);
        let meta = object.meta();
        let trimmed = |uid: &str| uid.trim_end_matches('\0').to_owned();
        assert_eq!(trimmed(&meta.transfer_syntax), expected);
        let mapped = deid().uid(&patient::uid(1));
        assert_eq!(trimmed(&meta.media_storage_sop_instance_uid), mapped);
        assert_eq!(text(&object, tags::SOP_INSTANCE_UID), mapped);
        assert!(meta.private_information.is_none());
        assert!(meta.source_application_entity_title.is_none());
    }
}

#[test]
fn what_refers_to_what_stays() {
    let object = |n| parsed(&rewritten(&patient::file(patient::whole(n), EXPLICIT)).1);
    let (first, second) = (object(1), object(2));
    for tag in [
        tags::STUDY_INSTANCE_UID,
        tags::SERIES_INSTANCE_UID,
        tags::FRAME_OF_REFERENCE_UID,
        tags::PATIENT_ID,
        tags::STUDY_DATE,
    ] {
        assert_eq!(text(&first, tag), text(&second, tag));
    }
    let instance = text(&first, tags::SOP_INSTANCE_UID);
    assert_ne!(instance, text(&second, tags::SOP_INSTANCE_UID));
    // References that the table does not name.
    let source = tags::SOP_INSTANCE_UID_OF_CONCATENATION_SOURCE;
    assert_eq!(text(&second, source), instance);
    assert_eq!(
        text(&second, tags::VOLUME_FRAME_OF_REFERENCE_UID),
        text(&second, tags::FRAME_OF_REFERENCE_UID)
    );
    // The second one names the first as its source.
    for sequence in [tags::SOURCE_IMAGE_SEQUENCE, tags::REFERENCED_IMAGE_SEQUENCE] {
        let source = item(&second, sequence);
        assert_eq!(text(source, tags::REFERENCED_SOP_INSTANCE_UID), instance);
        let class = text(source, tags::REFERENCED_SOP_CLASS_UID);
        assert_eq!(class, "1.2.840.10008.5.1.4.1.1.2");
    }
    let other = Deid::new(&[8; 32]).expect("a key");
    assert_ne!(other.uid(&patient::uid(1)), instance);
}

#[test]
fn dates_move_by_one_number_of_days() {
    let mut later = patient::whole(1);
    later.put_str(tags::SERIES_DATE, VR::DA, "20010213");
    later.put_str(tags::ACQUISITION_DATE_TIME, VR::DT, "20010301235959.5+0100");
    later.put_str(tags::CONTENT_DATE, VR::DA, "Dr. Who");
    later.put_str(tags::CONTENT_TIME, VR::TM, "Dr. Who");
    let object = parsed(&rewritten(&patient::file(later, EXPLICIT)).1);
    let day = |text: &str| {
        let number = |from: usize, to: usize| text[from..to].parse().expect("digits");
        let (year, month, day): (u32, u32, u32) = (number(0, 4), number(4, 6), number(6, 8));
        dicomfs::dicom::calendar::days_from_date(i64::from(year), month, day)
    };
    let study = day(&text(&object, tags::STUDY_DATE));
    let moved = day(DATE) - study;
    assert!((1..=3650).contains(&moved), "{moved}");
    assert_eq!(day(&text(&object, tags::SERIES_DATE)) - study, 10);
    let acquired = text(&object, tags::ACQUISITION_DATE_TIME);
    assert_eq!(day(&acquired) - study, 26);
    assert!(acquired.ends_with("235959.5+0100"), "{acquired}");
    assert_eq!(text(&object, tags::STUDY_TIME).trim(), "101112");
    // What is no date is as if there were no option to keep it: a dummy.
    assert_eq!(text(&object, tags::CONTENT_DATE), "19000101");
    assert_eq!(text(&object, tags::CONTENT_TIME).trim(), "000000");
    assert_eq!(text(&object, tags::PATIENT_BIRTH_DATE), "");
}

/// An element with a length of 16 bits, explicit little endian.
fn element(tag: Tag, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [tag.0, tag.1] {
        out.extend(word.to_le_bytes());
    }
    out.extend(vr);
    out.extend((value.len() as u16).to_le_bytes());
    out.extend(value);
    out
}

/// The same as UN, whose length has 32 bits.
fn unknown(tag: Tag, value: &[u8]) -> Vec<u8> {
    let mut out = element(tag, b"UN", b"");
    out.extend((value.len() as u32).to_le_bytes());
    out.extend(value);
    out
}

/// A file with these elements, which are to be in order, before its Rows.
fn file_with(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut image = InMemDicomObject::new_empty();
    image.put_str(tags::SOP_CLASS_UID, VR::UI, "1.2.840.10008.5.1.4.1.1.2");
    image.put_str(tags::SOP_INSTANCE_UID, VR::UI, patient::uid(1));
    let mut file = patient::file(image, EXPLICIT);
    file.extend(elements.concat());
    let numbers = [
        (0x10, 2),
        (0x11, 2),
        (0x0100, 16),
        (0x0101, 16),
        (0x0102, 15),
    ];
    for (tag, number) in [(0x02, 1)].into_iter().chain(numbers) {
        file.extend(element(Tag(0x0028, tag), b"US", &u16::to_le_bytes(number)));
    }
    file.extend(b"\xE0\x7F\x10\0OW\0\0\x08\0\0\0");
    file.extend([1, 0, 2, 0, 3, 0, 4, 0]);
    file
}

#[test]
fn a_false_representation_hides_nothing() {
    let secret = SECRET.as_bytes();
    let item = [
        &b"\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF\x10\0\x10\0\x06\0\0\0"[..],
        secret,
        b"\xFE\xFF\x0D\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0",
    ]
    .concat();
    let mut endless = element(Tag(0x0008, 0x2112), b"UN", b"");
    endless.extend([0xFF; 4]);
    endless.extend(&item);
    let file = file_with(&[
        element(Tag(0x0008, 0x0020), b"LO", DATE.as_bytes()),
        element(Tag(0x0008, 0x1070), b"LT", secret),
        // A sequence of implicit elements, with a length and without one (PS3.5 6.2.2).
        unknown(Tag(0x0008, 0x1140), &item),
        endless,
        element(Tag(0x0010, 0x0010), b"SH", secret),
        unknown(Tag(0x0010, 0x0020), secret),
        element(Tag(0x0014, 0x3076), b"LO", DATE.as_bytes()),
        // A text that is written as a sequence.
        element(Tag(0x0018, 0x1030), b"SQ", b""),
        (item.len() as u32).to_le_bytes().to_vec(),
        item.clone(),
        element(Tag(0x0020, 0x0242), b"LO", b"9.87.654.1"),
        // Of the representation of the pixels: it stays unknown.
        unknown(Tag(0x0022, 0x1452), &(-5_i16).to_le_bytes()),
    ]);
    let (_, bytes) = rewritten(&file);
    nothing_survives(&bytes);
    assert!(!contains(&bytes, "9.87.654"));
    let kept = unknown(Tag(0x0022, 0x1452), &(-5_i16).to_le_bytes());
    assert!(bytes.windows(kept.len()).any(|part| part == kept));
}

/// A file with encapsulated pixels, and what stands behind their delimiter.
fn encapsulated(after: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut file = patient::file(patient::dataset(1), "1.2.840.10008.1.2.4.57");
    let items: Vec<u8> = [
        &b"\xFE\xFF\x00\xE0\0\0\0\0"[..],
        b"\xFE\xFF\x00\xE0\x06\0\0\0pixels",
        b"\xFE\xFF\x00\xE0\x04\0\0\0more",
        b"\xFE\xFF\xDD\xE0\0\0\0\0",
    ]
    .concat();
    file.extend(b"\xE0\x7F\x10\0OB\0\0\xFF\xFF\xFF\xFF");
    file.extend(&items);
    file.extend(after);
    (file, items)
}

#[test]
fn encapsulated_pixels_are_as_they_were_and_nothing_follows() {
    for after in [0, 1, 7, 8, 10, 11, 12, 13, 100] {
        let secret: Vec<u8> = SECRET.bytes().cycle().take(after).collect();
        let (file, items) = encapsulated(&secret);
        let (_, bytes) = rewritten(&file);
        nothing_survives(&bytes);
        let start = bytes.len() - items.len() - after;
        assert!(bytes[start..start + items.len()] == items);
        if after >= 12 {
            // Something that every reader passes over.
            let object = parsed(&bytes);
            let pixels = object.element(tags::PIXEL_DATA).expect("pixels");
            assert_eq!(pixels.fragments().expect("fragments").len(), 2);
        }
    }
    // An item that says it goes on beyond the end.
    let (mut file, _) = encapsulated(b"");
    file.truncate(file.len() - 10);
    let (_, bytes) = rewritten(&file);
    assert!(bytes.ends_with(&file[file.len() - 40..]));
}

#[test]
fn damaged_headers_are_an_error_or_clean() {
    let file = patient::file(patient::whole(1), EXPLICIT);
    let pixels = file.len() - 200;
    let positions = [(0xFF, 1013), (0x01, 331), (0x20, 419)];
    let positions =
        positions.map(|(bits, step)| (132..pixels).step_by(step).map(move |at| (at, bits)));
    for (at, bits) in positions.into_iter().flatten() {
        let mut damaged = file.clone();
        damaged[at] ^= bits;
        if let Ok(rewritten) = rewrite(&damaged, damaged.len() as u64, &deid()) {
            let len = rewritten.len_bytes();
            assert!(len < 2 * file.len() as u64);
            let _ = rewritten.read(&damaged, 0..len);
        }
        let cut = &file[..at];
        let _ = rewrite(cut, cut.len() as u64, &deid()).map(|file| file.len_bytes());
    }
}

#[test]
fn nesting_has_an_end() {
    let mut dataset: Vec<u8> = Vec::new();
    for _ in 0..100_000 {
        dataset.extend(b"\x40\0\x60\x02SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF");
    }
    let mut file = patient::file(patient::dataset(1), EXPLICIT);
    file.extend(dataset);
    assert!(rewrite(&file, file.len() as u64, &deid()).is_err());
}

/// What has to go, or become something else.
const IDENTIFIERS: [Tag; 9] = [
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::STUDY_INSTANCE_UID,
    tags::SERIES_INSTANCE_UID,
    tags::SOP_INSTANCE_UID,
    tags::ACCESSION_NUMBER,
    tags::INSTITUTION_NAME,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::STATION_NAME,
];

/// A value as text, where there is any.
fn identifier(object: &InMemDicomObject, tag: Tag) -> Option<String> {
    let text = object.element_opt(tag).ok()??.to_str().ok()?;
    let text = text.trim_matches([' ', '\0']).to_owned();
    (!text.is_empty()).then_some(text)
}

fn check_real(path: &Path) -> Option<()> {
    let original = std::fs::read(path).expect("a file");
    let read = |bytes: &[u8]| {
        let options = OpenFileOptions::new().read_preamble(dicom_object::file::ReadPreamble::Auto);
        options.from_reader(bytes).ok()
    };
    let was = read(&original)?;
    let pixels = was.element_opt(tags::PIXEL_DATA).ok()??.clone();
    let rewritten = match rewrite(&original, original.len() as u64, &deid()) {
        Ok(rewritten) => rewritten,
        Err(why) => panic!("{}: {why}", path.display()),
    };
    let bytes = rewritten
        .read(&original, 0..rewritten.len_bytes())
        .expect("read");
    let is = read(&bytes).unwrap_or_else(|| panic!("{}: not read", path.display()));
    let is_pixels = is.element(tags::PIXEL_DATA).expect("pixels");
    assert!(is_pixels.value() == pixels.value(), "{}", path.display());
    for tag in IDENTIFIERS {
        let (was, is) = (identifier(&was, tag), identifier(&is, tag));
        assert!(was.is_none() || was != is, "{}: {tag}", path.display());
    }
    Some(())
}

#[test]
fn real_files_are_read_as_before() {
    let Some(dir) = common::data_dir("real_files_are_read_as_before") else {
        return;
    };
    let manifest = std::fs::read(dir.join("MANIFEST.json")).expect("a manifest");
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&manifest).expect("a list");
    let files = entries.iter().filter(|entry| entry["expected"].is_object());
    let files = files.filter_map(|entry| Some(dir.join(entry["file"].as_str()?)));
    // dicom-object reads nearly all of them.
    let checked = files.filter_map(|path| check_real(&path)).count();
    println!("{checked} files");
    assert!(checked > 200, "{checked}");
}
