//! JPEG 2000 for a device, without one: what the data set's frames are planned as, what NVIDIA's
//! library makes of their headers (which needs no driver), and the whole way through a library that
//! only answers (`fake_gpu`).
//!
//! Unsafe because the streams of a device promise where their memory is.
#![allow(unsafe_code)]

mod common;
mod fake_gpu;
#[path = "gpu_jpeg2k/frames.rs"]
mod frames;
#[path = "gpu_jpeg2k/host.rs"]
mod host;

use std::path::{Path, PathBuf};

use dicomfs::decode::gpu::nvjpeg2k::{
    Decoded, Decoder, FILE_NAME, Frame, Nvjpeg2k, describe, expected,
};
use dicomfs::decode::gpu::{Codec, Outcome, Refusal, Show, plan};

use fake_gpu::build::build;
use fake_gpu::nvjpeg2k::Fake;
use host::Host;

const SKIPS: &str = "DICOMFS_REQUIRE_CLIENTS";

/// Frames that no device is asked for, whatever the mount's options: by file, and why.
const REFUSED: [(&str, Refusal); 3] = [
    ("derived/truncated_CT2.90.dcm", Refusal::Codestream),
    // One bit allocated.
    ("single/pydicom-data/liver_j2k.dcm", Refusal::Samples),
    // SIZ says 3.7 billion columns.
    (
        "single/broken_or_no_image/JPEG2000-embedded-sequence-delimiter.dcm",
        Refusal::Codestream,
    ),
];

fn fake(test: &str) -> Option<Fake> {
    Fake::new()
        .inspect_err(|why| common::skip(test, why, SKIPS))
        .ok()
}

/// The real library in the tests' Python; else the skip has been printed.
fn real(test: &str) -> Option<(Nvjpeg2k, PathBuf)> {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/lib");
    let pythons = std::fs::read_dir(lib).into_iter().flatten().flatten();
    let dir = pythons
        .map(|python| python.path().join("site-packages/nvidia/nvjpeg2k/lib"))
        .find(|dir| dir.join(FILE_NAME).is_file());
    let Some(dir) = dir else {
        let why = "no nvidia-nvjpeg2k-cu12 in target/venv (pip install)";
        common::skip(test, why, SKIPS);
        return None;
    };
    // That it cannot be loaded is a failure: it is there.
    let library = Nvjpeg2k::load_from(&dir).expect("the library loads without a driver");
    Some((library, dir))
}

fn planned(frame: &frames::Frame, exact: bool) -> Result<Codec, Refusal> {
    plan(
        &frame.uid,
        &frame.image,
        &Show::Stored,
        &frame.encoded,
        exact,
    )
}

/// Syntaxes that allow loss, and files of such that lost nothing.
const LOSSY: [&str; 2] = ["1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203"];
const YET_LOSSLESS: [&str; 2] = [
    "derived/htj2k_relabelled_MR4.203.dcm",
    "single/pydicom/SC_rgb_gdcm_KY.dcm",
];

/// Frames of lossless syntaxes that lack coding passes, which decoders have to guess.
fn lacks_passes(file: &str, number: &str) -> bool {
    file.ends_with("MR_small_jp2klossless.dcm")
        || file.contains("/emri_") && ["2", "7", "9"].contains(&number)
}

#[test]
fn each_frame_of_the_data_set_is_planned() {
    let Some(frames) = frames::all("each_frame_of_the_data_set_is_planned") else {
        return;
    };
    let (mut exact, mut lossy, mut refused) = (0, 0, 0);
    for frame in &frames {
        let (file, number) = frame.name.rsplit_once(' ').expect("a number");
        let ht = frame.uid.starts_with("1.2.840.10008.1.2.4.20");
        let codec = if ht { Codec::Htj2k } else { Codec::Jpeg2000 };
        let loss = LOSSY.contains(&&*frame.uid) && !YET_LOSSLESS.contains(&file);
        let (wanted, wanted_exact) = match REFUSED.iter().find(|(name, _)| *name == file) {
            Some((_, why)) => (Err(*why), Err(*why)),
            None if loss || lacks_passes(file, number) => (Ok(codec), Err(Refusal::Lossy)),
            None => (Ok(codec), Ok(codec)),
        };
        assert_eq!(planned(frame, false), wanted, "{}", frame.name);
        assert_eq!(planned(frame, true), wanted_exact, "{}", frame.name);
        match (wanted_exact, wanted) {
            (Ok(_), _) => exact += 1,
            (_, Ok(_)) => lossy += 1,
            _ => refused += 1,
        }
    }
    println!("frames: {exact} exact, {lossy} more with exact=off, {refused} for the CPU");
    assert!(exact > 100 && lossy > 20);
}

#[test]
fn nvidias_parser_agrees_on_the_data_set() {
    let test = "nvidias_parser_agrees_on_the_data_set";
    let Some((library, _)) = real(test) else {
        return;
    };
    println!("{library:?}");
    let Some(frames) = frames::all(test) else {
        return;
    };
    let mut agreed = 0;
    for frame in &frames {
        let theirs = describe(&library, &frame.encoded);
        match planned(frame, false) {
            Ok(_) => {
                assert_eq!(theirs, expected(&frame.encoded), "{}", frame.name);
                let planes = theirs.expect("what is planned can be parsed");
                let image = &frame.image;
                assert_eq!((planes.rows, planes.columns), (image.rows, image.columns));
                assert_eq!(planes.components, u32::from(image.samples_per_pixel));
                agreed += 1;
            }
            Err(Refusal::Codestream) => assert!(theirs.is_err(), "{}", frame.name),
            Err(_) => {}
        }
    }
    println!("{agreed} frames agreed on");
    assert!(agreed > 100);
}

#[test]
fn without_a_driver_the_real_library_makes_no_decoder() {
    let Some((library, _)) = real("without_a_driver_the_real_library_makes_no_decoder") else {
        return;
    };
    if Path::new("/dev/nvidiactl").exists() {
        println!("left out: there is a driver");
        return;
    }
    let why = Decoder::new(&library, 1, 1).map(drop).unwrap_err();
    assert!(why.contains("DecodeStateCreate"), "{why}");
}

#[test]
fn a_library_that_will_not_do_is_a_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let why = Nvjpeg2k::load_from(dir.path()).unwrap_err();
    assert!(why.contains("put it beside the program"), "{why}");
    std::fs::write(dir.path().join(FILE_NAME), "no library").expect("written");
    let why = Nvjpeg2k::load_from(dir.path()).unwrap_err();
    assert!(why.contains("cannot be loaded"), "{why}");

    let Some(fake) = fake("a_library_that_will_not_do_is_a_sentence") else {
        return;
    };
    let library = Nvjpeg2k::load_from(fake.dir()).expect("it loads");
    assert_eq!(library.version(), "0.11.0");
    fake.version("0.7.5");
    let why = Nvjpeg2k::load_from(fake.dir()).unwrap_err();
    assert!(why.contains("0.7 is too old"), "{why}");
    let empty = build("empty.cpp", FILE_NAME).expect("the compiler that made the fake");
    let why = Nvjpeg2k::load_from(empty.parent().expect("a directory")).unwrap_err();
    assert!(why.contains("nvjpeg2kGetProperty"), "{why}");
}

/// Frames with answers, and a decoder of them.
struct Setup {
    fake: Fake,
    frames: Vec<frames::Frame>,
}

impl Setup {
    /// The frames of the data set that a device may be asked for, at most `count`.
    fn new(test: &str, count: usize) -> Option<Setup> {
        let mut frames = frames::all(test)?;
        let fake = fake(test)?;
        frames.retain(|frame| planned(frame, false).is_ok());
        frames.truncate(count);
        for frame in &frames {
            let answered = fake.answer(&frame.uid, &frame.image, &frame.encoded);
            assert_eq!(answered, Ok(()), "{}", frame.name);
        }
        Some(Setup { fake, frames })
    }

    fn decoder(&self, states: usize) -> Result<Decoder, String> {
        let library = Nvjpeg2k::load_from(self.fake.dir()).expect("the fake loads");
        Decoder::new(&library, states, 3)
    }

    /// Decodes all frames with these faults.
    fn run(&self, faults: &str, host: &Host) -> Result<Vec<Decoded>, String> {
        self.fake.faults(faults);
        let mut decoder = self.decoder(4).expect("a decoder");
        let frames: Vec<Frame<'_>> = self.frames.iter().map(asked).collect();
        decoder.decode(&frames, host)
    }
}

fn asked(frame: &frames::Frame) -> Frame<'_> {
    Frame {
        encoded: &frame.encoded,
        image: &frame.image,
    }
}

#[test]
fn the_data_set_comes_through_planes_as_the_cpu_decodes_it() {
    let Some(setup) = Setup::new("the_data_set_comes_through_planes", usize::MAX) else {
        return;
    };
    let frames: Vec<Frame<'_>> = setup.frames.iter().map(asked).collect();
    for (states, streams) in [(1, 1), (8, 8), (3, 5), (5, 2)] {
        let mut decoder = setup.decoder(states).expect("a decoder");
        let host = Host::new(streams);
        // Twice: a decoder lives longer than a batch.
        for _ in 0..2 {
            let outcomes = decoder.decode(&frames, &host).expect("a device");
            assert!(outcomes.iter().all(Result::is_ok));
            assert_eq!(outcomes.len(), frames.len());
        }
        assert!(host.most_at_once() <= states.min(streams));
        // Three a batch, unless there are fewer streams.
        let threads = states.min(streams).min(3);
        assert!((threads..=2 * threads).contains(&host.threads()));
        for (index, frame) in setup.frames.iter().enumerate() {
            let got = host.stored(index, &frame.image);
            assert_eq!(got, host::by_cpu(frame), "{}", frame.name);
        }
        drop(decoder);
        assert_eq!(setup.fake.live(), "0 0 0", "nothing is left in the library");
    }
}

#[test]
fn one_frames_failure_is_its_own() {
    let Some(setup) = Setup::new("one_frames_failure_is_its_own", 12) else {
        return;
    };
    let refused = Outcome::Refused(Refusal::Codestream);
    for (faults, wanted) in [
        ("parse:3", Some(&refused)),
        ("parse_internal:3", None),
        ("decode:3", Some(&refused)),
        ("alloc:5", None),
        ("decode:12", Some(&refused)),
    ] {
        let host = Host::new(3);
        let outcomes = setup.run(faults, &host).expect("the device is well");
        let bad: Vec<usize> = (0..outcomes.len())
            .filter(|&index| outcomes[index].is_err())
            .collect();
        assert_eq!(bad.len(), 1, "{faults}: {outcomes:?}");
        match (&outcomes[bad[0]], wanted) {
            (Err(got), Some(wanted)) => assert_eq!(got, wanted, "{faults}"),
            (Err(Outcome::Failed(why)), None) => assert!(why.contains("nvJPEG2000"), "{why}"),
            (other, _) => panic!("{faults}: {other:?}"),
        }
        for (index, frame) in setup.frames.iter().enumerate() {
            if index != bad[0] {
                let got = host.stored(index, &frame.image);
                assert_eq!(got, host::by_cpu(frame), "{faults}: {}", frame.name);
            }
        }
        assert_eq!(setup.fake.live(), "0 0 0", "{faults}");
    }
}

#[test]
fn a_lost_device_ends_the_batch() {
    let Some(setup) = Setup::new("a_lost_device_ends_the_batch", 12) else {
        return;
    };
    for faults in ["exec:1", "arch:5", "internal:12"] {
        let host = Host::new(4);
        let why = setup.run(faults, &host).unwrap_err();
        assert!(why.contains("DecodeImage"), "{faults}: {why}");
        assert!(host.idle(), "{faults}: something is still at work");
        assert_eq!(setup.fake.live(), "0 0 0", "{faults}");
    }
    for faults in ["create:1", "state:4"] {
        setup.fake.faults(faults);
        assert!(setup.decoder(4).is_err(), "{faults}");
    }
    assert_eq!(setup.fake.live(), "0 0 0");

    // A stream that cannot be waited for: what it uses is never freed nor used again.
    let mut host = Host::new(2);
    host.wait_fails_at = Some(3);
    let why = setup.run("", &host).unwrap_err();
    assert_eq!(why, "the stream is lost");
    assert_ne!(setup.fake.live(), "0 0 0");
}

#[test]
fn no_memory_for_a_frame_fails_that_frame() {
    let Some(setup) = Setup::new("no_memory_for_a_frame_fails_that_frame", 6) else {
        return;
    };
    let mut host = Host::new(2);
    host.no_memory_for = Some(4);
    let outcomes = setup.run("", &host).expect("the device is well");
    for (index, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.is_err(), index == 4, "{outcome:?}");
    }
}

#[test]
fn a_device_that_lies_is_believed_here() {
    // Whoever asks compares: this layer has nothing to compare with.
    let Some(setup) = Setup::new("a_device_that_lies_is_believed_here", 4) else {
        return;
    };
    let host = Host::new(1);
    let outcomes = setup.run("zero:1", &host).expect("the device is well");
    assert!(outcomes.iter().all(Result::is_ok));
    let zeros = (0..4).filter(|&index| host.bytes(index).iter().all(|&byte| byte == 0));
    assert_eq!(zeros.count(), 1);
    setup.run("wrong:0", &host).expect("the device is well");
    for (index, frame) in setup.frames.iter().enumerate() {
        assert_ne!(host.stored(index, &frame.image), host::by_cpu(frame));
    }
}

#[test]
fn frames_that_are_not_what_they_say_are_refused() {
    let Some(setup) = Setup::new("frames_that_are_not_what_they_say", 1) else {
        return;
    };
    let frame = &setup.frames[0];
    let mut taller = frame.image.clone();
    taller.rows += 1;
    let mut narrow = frame.image.clone();
    narrow.bits_allocated = 8;
    let whole = &frame.encoded[..];
    let asked = |encoded, image| Frame { encoded, image };
    let frames = [
        asked(whole, &frame.image),
        asked(whole, &taller),
        asked(whole, &narrow),
        asked(&whole[..60], &frame.image),
        asked(&[], &frame.image),
        asked(b"\0\0\0\x0cjP  \r\n\x87\n", &frame.image),
    ];
    let mut decoder = setup.decoder(2).expect("a decoder");
    let outcomes = decoder.decode(&frames, &Host::new(2)).expect("well");
    assert_eq!(outcomes[0], Ok(()));
    for outcome in &outcomes[1..] {
        assert_eq!(*outcome, Err(Outcome::Refused(Refusal::Codestream)));
    }
    assert_eq!(decoder.decode(&[], &Host::new(1)), Ok(Vec::new()));
    assert!(decoder.decode(&frames, &Host::new(0)).is_err());
}
