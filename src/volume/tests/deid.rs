//! What is shown of volumes once they are de-identified.

use crate::dicom::{Deid, Value};
use crate::volume::{Built, deidentify};

use super::fixture::{SERIES, build_of, set, slice, slice_with};

fn deid() -> Deid {
    Deid::new(&[7; 32]).unwrap()
}

fn shown(mut built: Built) -> Built {
    deidentify(&mut built, &deid());
    built
}

#[test]
fn names_keep_their_suffixes_and_name_each_other() {
    let echo = |n: i64, echo: i64| {
        slice_with(n, (n % 4) as f64, |record| {
            record.instance.shared.echo_number = Some(echo);
            record.instance.shared.echo_time_ms = Some(10.0 * echo as f64);
        })
    };
    let built = build_of((0..8).map(|n| echo(n, 1 + n / 4)).collect());
    let names: Vec<String> = built.volumes.iter().map(|v| v.name.clone()).collect();
    assert_eq!(names, [SERIES.to_owned(), format!("{SERIES}_e2")]);
    let fingerprints: Vec<_> = built.volumes.iter().map(|v| v.fingerprint).collect();
    let built = shown(built);
    let base = deid().uid(SERIES);
    let names: Vec<String> = built.volumes.iter().map(|v| v.name.clone()).collect();
    assert_eq!(names, [base.clone(), format!("{base}_e2")]);
    for (volume, was) in built.volumes.iter().zip(fingerprints) {
        assert_ne!(volume.fingerprint, was);
        let siblings = volume.findings.iter().filter(|f| f.code == "split_from");
        let details: Vec<&str> = siblings.map(|f| f.detail.as_str()).collect();
        assert!(
            details.len() == 1 && details[0].contains(&base),
            "{details:?}"
        );
        assert!(!details[0].contains(SERIES), "{details:?}");
    }
}

#[test]
fn a_series_without_a_uid_has_another_name() {
    let record = |study: &str| {
        let study = study.to_owned();
        slice_with(1, 0.0, |record| {
            record.instance.series_instance_uid = String::new();
            record.instance.study_instance_uid = study;
        })
    };
    let was = build_of(vec![record("1.2")]);
    let is = shown(was.clone());
    assert!(is.volumes[0].name.starts_with("no-series-"));
    assert_ne!(is.volumes[0].name, was.volumes[0].name);
    let other = shown(build_of(vec![record("1.3")]));
    assert_ne!(is.volumes[0].name, other.volumes[0].name);
}

#[test]
fn findings_name_no_file_and_no_instance() {
    let mut cut = slice(1, 1.0);
    cut.identity.size_bytes -= 10;
    let mut copy = slice(2, 2.0);
    copy.path = "s/Jones.dcm".into();
    let records = vec![slice(0, 0.0), cut, slice(2, 2.0), copy, slice(4, 4.0)];
    let was = build_of(records);
    let told = |built: &Built| {
        let volumes = built.volumes.iter().flat_map(|volume| &volume.findings);
        let files = built.findings.iter().map(|(_, finding)| finding);
        let details = volumes.chain(files).map(|finding| finding.detail.clone());
        details.collect::<Vec<_>>().join("\n")
    };
    let words = told(&was);
    for name in ["s/0001.dcm", "s/Jones.dcm"] {
        assert!(words.contains(name), "{name} not in {words}");
    }
    let is = shown(was.clone());
    let words = told(&is);
    for name in ["s/", "Jones", "1.2.3"] {
        assert!(!words.contains(name), "{name} in {words}");
    }
    let codes = |built: &Built| -> Vec<&str> {
        let mut codes: Vec<_> = built.volumes[0].findings.iter().map(|f| f.code).collect();
        codes.sort_unstable();
        codes
    };
    assert_eq!(codes(&is), codes(&was));
    for (path, _) in &is.findings {
        assert!(path.to_string_lossy().starts_with("file-"), "{path:?}");
    }
    // What is told by numbers is told.
    assert!(words.contains("mm"), "{words}");
}

#[test]
fn values_order_and_places_are_the_original_ones() {
    let records: Vec<_> = [3, 1, 2, 0]
        .map(|n| {
            slice_with(n, n as f64, |record| {
                set(record, "PatientID", Value::Text("Jones".into()));
                set(record, "StudyDate", Value::Text("20200301".into()));
                set(record, "StationName", Value::Text("CT 7".into()));
                set(record, "Manufacturer", Value::Text("Acme".into()));
            })
        })
        .into();
    let was = build_of(records);
    let is = shown(was.clone());
    let (was, is) = (&was.volumes[0], &is.volumes[0]);
    assert_eq!(
        (&is.frames, &is.shape, &is.geometry),
        (&was.frames, &was.shape, &was.geometry)
    );
    assert_eq!(
        (&is.values, is.stored_dtype),
        (&was.values, was.stored_dtype)
    );
    let subject = deid().subject(&was.records[0].instance);
    assert_eq!(is.deid_days, Some(subject.days));
    for (n, (is_record, was_record)) in is.records.iter().zip(&was.records).enumerate() {
        // By which the file is opened.
        assert_eq!(
            (&is_record.path, is_record.identity),
            (&was_record.path, was_record.identity)
        );
        assert_eq!(is.source_name(n), format!("dicom/000{}.dcm", n + 1));
        assert_eq!(was.source_name(n), was_record.path.to_string_lossy());
        let (is, was) = (&is_record.instance, &was_record.instance);
        assert_eq!(is.sop_instance_uid, deid().uid(&was.sop_instance_uid));
        assert_eq!(is.study_instance_uid, deid().uid(&was.study_instance_uid));
        assert_eq!((&is.shared, &is.pixel_data), (&was.shared, &was.pixel_data));
        let text = |keyword| is.attributes.get(keyword);
        assert_eq!(
            text("PatientID"),
            Some(Value::Text(subject.pseudonym.clone()))
        );
        assert_eq!(text("StationName"), None);
        assert_eq!(text("Manufacturer"), Some(Value::Text("Acme".into())));
        assert_ne!(text("StudyDate"), was.attributes.get("StudyDate"));
        assert_eq!(
            text("PatientIdentityRemoved"),
            Some(Value::Text("YES".into()))
        );
    }
}

#[test]
fn burned_in_names_are_a_finding() {
    let capture = "1.2.840.10008.5.1.4.1.1.7.2";
    for (modality, class, said, expected) in [
        ("CT", "", "YES", true),
        ("CT", "", "", false),
        ("US", "", "", true),
        ("US", "", "NO", false),
        ("CT", capture, "", true),
        ("CT", capture, "NO", false),
    ] {
        let record = slice_with(0, 0.0, |record| {
            record.instance.modality = modality.into();
            record.instance.sop_class_uid = class.into();
            if !said.is_empty() {
                set(record, "BurnedInAnnotation", Value::Text(said.into()));
            }
        });
        let built = build_of(vec![record]);
        let says = |built: &Built| {
            let findings = &built.volumes[0].findings;
            findings.iter().any(|f| f.code == "burned_in_annotation")
        };
        assert!(!says(&built));
        assert_eq!(says(&shown(built)), expected, "{modality} {class} {said}");
    }
}
