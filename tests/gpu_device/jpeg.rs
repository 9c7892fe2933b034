//! JPEG through the whole engine: a fake nvJPEG leaves planes in the fake device's memory, the kernels
//! make stored samples of them, and those are what the CPU decodes.

use dicomfs::decode::gpu::{CUFILE, Codec, Engine, NVJPEG, NVJPEG2K, Outcome, Refusal, Show, plan};
use dicomfs::dicom::syntax::CodecFamily;

use crate::cases::{Batch, Case, DENSE, LITTLE, Random, Truth, gray};
use crate::fake_gpu::libcuda::{Setup, child, is_child};
use crate::fake_gpu::{nvjpeg, nvjpeg2k};
use crate::jpeg2k_frames::{self, Frame};

/// The frames of the data set that a device may be asked for with `exact=off`.
fn cases(test: &str, family: CodecFamily) -> Option<Vec<(String, Case)>> {
    let planned = |frame: Frame| {
        let show = Show::Stored;
        let codec = plan(&frame.uid, &frame.image, &show, &frame.encoded, false).ok()?;
        let (image, encoded) = (frame.image, frame.encoded);
        let case = Case {
            codec,
            image,
            show,
            encoded,
        };
        Some((frame.uid, case))
    };
    let frames = jpeg2k_frames::of(test, &[family])?;
    Some(frames.into_iter().filter_map(planned).collect())
}

#[test]
fn real_frames_of_two_libraries_and_none_in_one_batch() {
    let test = "jpeg::real_frames_of_two_libraries_and_none_in_one_batch";
    let (Some(jpeg), Some(mut jpeg2k)) = (
        cases(test, CodecFamily::JpegDct),
        cases(test, CodecFamily::Jpeg2000),
    ) else {
        return;
    };
    jpeg2k.truncate(20);
    let mut setup = Setup::default();
    let fakes = if is_child() {
        None
    } else {
        nvjpeg::Fake::new().ok().zip(nvjpeg2k::Fake::new().ok())
    };
    if let Some((one, two)) = &fakes {
        for (uid, case) in &jpeg {
            one.answer(uid, &case.image, &case.encoded)
                .expect("answered");
        }
        for (uid, case) in &jpeg2k {
            // What the CPU does not decode stays without an answer, and must be refused.
            let _ = two.answer(uid, &case.image, &case.encoded);
        }
        setup.libraries = vec![one.dir().to_path_buf(), two.dir().to_path_buf()];
    }
    let ran = child(test, &setup, || {
        let mut engine = Engine::open(0).unwrap();
        let libraries = engine.report().libraries.clone();
        let names: Vec<&str> = libraries.iter().map(|found| &found.name[..]).collect();
        assert_eq!(names, [NVJPEG2K, NVJPEG, CUFILE]);
        assert_eq!(libraries[1].version, Ok("12.4.0".into()));
        let why = libraries[2].version.clone().unwrap_err();
        assert!(why.contains("libcufile.so.0"), "{why}");
        assert_eq!(engine.report().can(Codec::Jpeg), Ok(()));
        let mut mixed: Vec<(String, Case)> = Vec::new();
        let mut random = Random(7);
        let count = jpeg.len();
        for (at, real) in jpeg.into_iter().enumerate() {
            mixed.push(real);
            if let Some(other) = jpeg2k.get(at) {
                mixed.push(other.clone());
            }
            let plain = Case {
                codec: LITTLE,
                image: gray(4, 5, 16),
                show: Show::Stored,
                encoded: random.bytes(40),
            };
            mixed.push(("1.2.840.10008.1.2.1".into(), plain));
        }
        let all: Vec<Case> = mixed.iter().map(|(_, case)| case.clone()).collect();
        let mut batch = Batch::new(&all, DENSE);
        let outcomes = batch.run(&mut engine);
        let mut right = 0;
        for (index, (uid, case)) in mixed.iter().enumerate() {
            match (&outcomes[index], case.truth_of(uid)) {
                (Outcome::Done, Truth::Values(values)) => {
                    assert!(batch.values(index) == values, "{index} {:?}", case.codec);
                    right += usize::from(case.codec == Codec::Jpeg);
                }
                (Outcome::Refused(_) | Outcome::Failed(_), Truth::Undecodable) => {}
                (outcome, _) => panic!("{index} {:?}: {outcome:?}", case.codec),
            }
        }
        println!("{right} JPEG frames equal");
        assert_eq!(right, count);
        batch.assert_rest_untouched();
    });
    if let Some(ran) = ran {
        println!("{}", ran.assert_passed().output);
    }
}

#[test]
fn without_the_library_they_are_refused_and_the_report_says_why() {
    let test = "jpeg::without_the_library_they_are_refused_and_the_report_says_why";
    let Some(cases) = cases(test, CodecFamily::JpegDct) else {
        return;
    };
    let ran = child(test, &Setup::default(), || {
        let mut engine = Engine::open(0).unwrap();
        let why = engine.report().can(Codec::Jpeg).unwrap_err();
        assert!(why.contains("nvJPEG: libnvjpeg.so.13 cannot be"), "{why}");
        let some: Vec<Case> = cases.iter().take(3).map(|(_, case)| case.clone()).collect();
        let outcomes = Batch::new(&some, DENSE).run(&mut engine);
        let refused = Outcome::Refused(Refusal::NoLibrary);
        assert!(outcomes.iter().all(|outcome| *outcome == refused));
    });
    if let Some(ran) = ran {
        ran.assert_passed();
    }
}
