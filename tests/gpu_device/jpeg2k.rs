//! JPEG 2000 and HTJ2K through the whole engine: a fake nvJPEG2000 leaves planes in the fake device's
//! memory, the kernels make stored samples of them, and those are what the CPU decodes.

use std::collections::BTreeMap;

use dicomfs::decode::gpu::{Engine, Outcome, Refusal, Show, plan};

use crate::cases::{Batch, Case, DENSE, Truth};
use crate::fake_gpu::libcuda::{Setup, child, is_child};
use crate::fake_gpu::nvjpeg2k::Fake;
use crate::jpeg2k_frames;

/// A frame of a real file.
struct Real {
    name: String,
    uid: String,
    case: Case,
}

/// The frames of the data set that a device may be asked for, by transfer syntax.
fn cases(test: &str) -> Option<Vec<Real>> {
    let mut cases = Vec::new();
    for frame in jpeg2k_frames::all(test)? {
        let show = Show::Stored;
        if let Ok(codec) = plan(&frame.uid, &frame.image, &show, &frame.encoded, false) {
            let (image, encoded) = (frame.image, frame.encoded);
            let case = Case {
                codec,
                image,
                show,
                encoded,
            };
            let (name, uid) = (frame.name, frame.uid);
            cases.push(Real { name, uid, case });
        }
    }
    Some(cases)
}

/// A fake library that answers all of them with what the CPU decodes; a child has its parent's.
fn library(cases: &[Real]) -> Option<Fake> {
    if is_child() {
        return None;
    }
    let fake = Fake::new().ok()?;
    for Real { uid, case, .. } in cases {
        // What the CPU does not decode stays without an answer, and must be refused.
        let _ = fake.answer(uid, &case.image, &case.encoded);
    }
    Some(fake)
}

#[test]
fn real_frames_give_what_the_cpu_decodes() {
    let test = "jpeg2k::real_frames_give_what_the_cpu_decodes";
    let Some(cases) = cases(test) else { return };
    let fake = library(&cases);
    let setup = Setup {
        libraries: fake.iter().map(|fake| fake.dir().to_path_buf()).collect(),
        ..Setup::default()
    };
    let ran = child(test, &setup, || {
        let mut engine = Engine::open(0).unwrap();
        assert_eq!(engine.report().libraries[0].version, Ok("0.11.0".into()));
        let all: Vec<Case> = cases.iter().map(|real| real.case.clone()).collect();
        let mut batch = Batch::new(&all, DENSE);
        let outcomes = batch.run(&mut engine);
        let mut tally: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
        for (index, Real { name, uid, case }) in cases.iter().enumerate() {
            let (right, left) = tally.entry(uid).or_default();
            match (&outcomes[index], case.truth_of(uid)) {
                (Outcome::Done, Truth::Values(values)) => {
                    assert!(batch.values(index) == values, "{name}");
                    *right += 1;
                }
                (Outcome::Refused(_) | Outcome::Failed(_), Truth::Undecodable) => *left += 1,
                (outcome, _) => panic!("{name}: {outcome:?}"),
            }
        }
        for (uid, (right, left)) in &tally {
            println!("{uid}: {right} frames equal, {left} not decodable on either side");
        }
        assert!(tally.values().map(|(right, _)| right).sum::<u32>() > 20);
        batch.assert_rest_untouched();
    });
    if let Some(ran) = ran {
        println!("{}", ran.assert_passed().output);
    }
}

#[test]
fn without_the_library_they_are_refused_and_the_report_says_why() {
    let test = "jpeg2k::without_the_library_they_are_refused_and_the_report_says_why";
    let Some(cases) = cases(test) else { return };
    let ran = child(test, &Setup::default(), || {
        let mut engine = Engine::open(0).unwrap();
        let why = engine.report().libraries[0].version.clone().unwrap_err();
        assert!(why.contains("libnvjpeg2k.so.0"), "{why}");
        let some: Vec<Case> = cases.iter().take(3).map(|real| real.case.clone()).collect();
        let outcomes = Batch::new(&some, DENSE).run(&mut engine);
        assert!(
            outcomes
                .iter()
                .all(|outcome| *outcome == Outcome::Refused(Refusal::NoLibrary))
        );
    });
    if let Some(ran) = ran {
        ran.assert_passed();
    }
}
