//! NRRD and MetaImage headers, and what Zarr says of an array.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{NATIVE, array, in_time, sheared, volume};
use crate::format::{Error, metaimage, nrrd, zarr};
use crate::volume::{Dtype, Volume};

/// The fields of a header by name, split at the first separator of each line.
fn fields(text: &[u8], separator: &str) -> BTreeMap<String, String> {
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.is_ascii() && text.ends_with('\n'));
    text.lines()
        .filter_map(|line| line.split_once(separator))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn nhdr(volume: &Volume) -> BTreeMap<String, String> {
    fields(&nrrd::header(volume).unwrap(), ": ")
}

fn mhd(volume: &Volume) -> BTreeMap<String, String> {
    fields(&metaimage::header(volume).unwrap(), " = ")
}

#[test]
fn nrrd_points_into_the_npy_file() {
    let text = nrrd::header(&volume([NATIVE, NATIVE])).unwrap();
    assert_eq!(
        std::str::from_utf8(&text).unwrap(),
        "NRRD0004\n\
         type: int16\n\
         dimension: 3\n\
         space: left-posterior-superior\n\
         sizes: 6 4 2\n\
         space directions: (0.75,0,0) (0,0.5,0) (0,0,2)\n\
         kinds: space space space\n\
         space origin: (-10,-20,2)\n\
         space units: \"mm\" \"mm\" \"mm\"\n\
         endian: little\n\
         encoding: raw\n\
         byte skip: 4096\n\
         data file: volume.npy\n"
    );
}

#[test]
fn metaimage_points_into_the_npy_file() {
    let text = metaimage::header(&volume([NATIVE, NATIVE])).unwrap();
    assert_eq!(
        std::str::from_utf8(&text).unwrap(),
        "ObjectType = Image\n\
         NDims = 3\n\
         BinaryData = True\n\
         BinaryDataByteOrderMSB = False\n\
         CompressedData = False\n\
         TransformMatrix = 1 0 0 0 1 0 0 0 1\n\
         Offset = -10 -20 2\n\
         ElementSpacing = 0.75 0.5 2\n\
         DimSize = 6 4 2\n\
         HeaderSize = 4096\n\
         ElementType = MET_SHORT\n\
         ElementDataFile = volume.npy\n"
    );
}

#[test]
fn types_have_the_formats_names() {
    let table = [
        (Dtype::U8, Some(("uint8", "MET_UCHAR")), "uint8"),
        (Dtype::I8, Some(("int8", "MET_CHAR")), "int8"),
        (Dtype::U16, Some(("uint16", "MET_USHORT")), "uint16"),
        (Dtype::I16, Some(("int16", "MET_SHORT")), "int16"),
        (Dtype::U32, Some(("uint32", "MET_UINT")), "uint32"),
        (Dtype::I32, Some(("int32", "MET_INT")), "int32"),
        (Dtype::U64, Some(("uint64", "MET_ULONG_LONG")), "uint64"),
        (Dtype::I64, Some(("int64", "MET_LONG_LONG")), "int64"),
        (Dtype::F32, Some(("float", "MET_FLOAT")), "float32"),
        (Dtype::F64, Some(("double", "MET_DOUBLE")), "float64"),
        (Dtype::F16, None, "float16"),
    ];
    for (dtype, names, of_zarr) in table {
        let volume = array("zyx", &[2, 4, 6], dtype);
        assert_eq!(nrrd::check(&volume).is_ok(), names.is_some(), "{dtype:?}");
        assert_eq!(
            metaimage::check(&volume).is_ok(),
            names.is_some(),
            "{dtype:?}"
        );
        match names {
            Some((of_nrrd, of_meta)) => {
                assert_eq!(nhdr(&volume)["type"], of_nrrd);
                assert_eq!(mhd(&volume)["ElementType"], of_meta);
            }
            None => {
                let refused = [nrrd::header(&volume), metaimage::header(&volume)];
                let refused = refused.map(|r| matches!(r, Err(Error::NotExpressible { .. })));
                assert_eq!(refused, [true; 2]);
            }
        }
        assert_eq!(zarr_array(&volume)["data_type"], of_zarr);
    }
}

/// The numbers in a field.
fn numbers(field: &str) -> Vec<f64> {
    field
        .split(|c: char| "() ,".contains(c))
        .filter(|word| !word.is_empty())
        .map(|word| word.parse().unwrap())
        .collect()
}

#[test]
fn shear_and_every_digit_are_kept() {
    let mut volume = array("zyx", &[2, 4, 6], Dtype::F32);
    volume.geometry = sheared();
    let header = nhdr(&volume);
    assert_eq!(
        numbers(&header["space directions"]),
        [0.75, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.5, 2.0]
    );
    assert_eq!(numbers(&header["space origin"]), [-10.1, -20.0, 1.0 / 3.0]);
    let header = mhd(&volume);
    let length = 4.25_f64.sqrt();
    assert_eq!(
        numbers(&header["TransformMatrix"]),
        [
            1.0,
            0.0,
            0.0,
            0.0,
            1.0,
            0.0,
            0.0,
            0.5 / length,
            2.0 / length
        ]
    );
    assert_eq!(numbers(&header["ElementSpacing"]), [0.75, 0.5, length]);
    assert_eq!(numbers(&header["Offset"]), [-10.1, -20.0, 1.0 / 3.0]);
}

#[test]
fn time_is_a_dimension_and_anything_else_a_list() {
    let mut volume = array("tzyx", &[2, 5, 4, 6], Dtype::I16);
    volume.steps = in_time();
    let header = nhdr(&volume);
    assert_eq!(header["sizes"], "6 4 5 2");
    assert_eq!(header["space"], "left-posterior-superior-time");
    assert_eq!(header["kinds"], "space space space time");
    assert_eq!(
        header["space directions"],
        "(0.75,0,0,0) (0,0.5,0,0) (0,0,2,0) (0,0,0,2.5)"
    );
    assert_eq!(header["space origin"], "(-10,-20,2,0)");
    assert_eq!(header["space units"], r#""mm" "mm" "mm" "s""#);
    let header = mhd(&volume);
    assert_eq!(header["NDims"], "4");
    assert_eq!(header["TransformMatrix"], "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1");
    assert_eq!(header["Offset"], "-10 -20 2 0");
    assert_eq!(header["ElementSpacing"], "0.75 0.5 2 2.5");
    assert_eq!(header["DimSize"], "6 4 5 2");

    let steps = volume.steps.as_mut().unwrap();
    (steps.keyword, steps.interval_s) = ("DiffusionBValue", None);
    let header = nhdr(&volume);
    assert_eq!(header["space"], "left-posterior-superior");
    assert_eq!(header["kinds"], "space space space list");
    assert_eq!(
        header["space directions"],
        "(0.75,0,0) (0,0.5,0) (0,0,2) none"
    );
    assert_eq!(mhd(&volume)["ElementSpacing"], "0.75 0.5 2 1");
    volume.steps.as_mut().unwrap().keyword = "AcquisitionTime";
    assert_eq!(nhdr(&volume)["space units"], r#""mm" "mm" "mm" """#);
}

#[test]
fn colour_and_frames_without_a_place() {
    let mut volume = array("fyxc", &[5, 4, 6, 3], Dtype::U8);
    volume.geometry = None;
    let header = nhdr(&volume);
    assert_eq!(header["dimension"], "4");
    assert_eq!(header["sizes"], "3 6 4 5");
    assert_eq!(header["kinds"], "RGB-color domain domain domain");
    assert_eq!(header["spacings"], "nan 0.75 0.5 nan");
    assert_eq!(header["units"], r#""" "mm" "mm" """#);
    assert!(
        header
            .keys()
            .all(|field| !field.starts_with("space") || field == "spacings")
    );
    let header = mhd(&volume);
    assert_eq!(header["NDims"], "3");
    assert_eq!(header["ElementNumberOfChannels"], "3");
    assert_eq!(header["ElementSpacing"], "0.75 0.5 1");
    assert!(!header.contains_key("Offset") && !header.contains_key("TransformMatrix"));
    // Channels that are no colours are not called so.
    assert!(nhdr(&array("zyxc", &[2, 4, 6, 4], Dtype::U8))["kinds"].starts_with("vector space"));
}

fn zarr_array(volume: &Volume) -> Json {
    serde_json::from_slice(&zarr::array_json(volume).unwrap()).unwrap()
}

fn zarr_group(volume: &Volume) -> Json {
    serde_json::from_slice(&zarr::group_json(volume).unwrap()).unwrap()
}

#[test]
fn zarr_has_a_chunk_a_frame() {
    let mut volume = array("tzyx", &[2, 5, 4, 6], Dtype::I16);
    volume.steps = in_time();
    let array = zarr_array(&volume);
    let expected = json!({
        "zarr_format": 3,
        "node_type": "array",
        "shape": [2, 5, 4, 6],
        "data_type": "int16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 1, 4, 6]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "dimension_names": ["t", "z", "y", "x"],
        "attributes": {
            "affine_lps": volume.geometry.as_ref().unwrap().affine_lps,
            "affine_ras": volume.geometry.as_ref().unwrap().affine_ras(),
            "spacing_mm": [2.0, 0.5, 0.75],
            "units": "HU",
            "status": "ok",
        },
    });
    assert_eq!(array, expected);
    let group = zarr_group(&volume);
    assert_eq!(group["node_type"], "group");
    assert_eq!(group["consolidated_metadata"]["metadata"]["0"], array);
    let images = &group["attributes"]["ome"]["multiscales"][0];
    assert_eq!(group["attributes"]["ome"]["version"], "0.5");
    assert_eq!(
        images["axes"],
        json!([
            {"name": "t", "type": "time", "unit": "second"},
            {"name": "z", "type": "space", "unit": "millimeter"},
            {"name": "y", "type": "space", "unit": "millimeter"},
            {"name": "x", "type": "space", "unit": "millimeter"},
        ])
    );
    assert_eq!(
        images["datasets"],
        json!([{"path": "0", "coordinateTransformations": [
            {"type": "scale", "scale": [2.5, 2.0, 0.5, 0.75]},
            {"type": "translation", "translation": [0.0, 2.0, -20.0, -10.0]},
        ]}])
    );
}

#[test]
fn ome_is_left_out_where_it_has_no_words() {
    let table = [
        ("zyx", true),
        ("fyx", true),
        ("tzyx", true),
        ("szyx", true),
        ("tszyx", true),
        ("stzyx", false),
        ("fszyx", false),
        ("zyxc", false),
        ("tfszyx", false),
    ];
    for (axes, is_said) in table {
        let volume = array(axes, &vec![3; axes.len()], Dtype::U8);
        let group = zarr_group(&volume);
        let ome = group["attributes"].get("ome");
        assert_eq!(ome.is_some(), is_said, "{axes}");
        // The schema takes an axis without a type for one of space, of which there are at most 3.
        let of = ome.and_then(|ome| ome["multiscales"][0]["axes"].as_array());
        assert!(
            of.into_iter()
                .flatten()
                .all(|axis| axis["type"].is_string())
        );
        let chunk = &zarr_array(&volume)["chunk_grid"]["configuration"]["chunk_shape"];
        let channels = u64::from(axes.ends_with('c')) * 2 + 1;
        assert_eq!(
            chunk.as_array().unwrap().last().unwrap().as_u64().unwrap(),
            3
        );
        let product: u64 = chunk
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_u64().unwrap())
            .product();
        assert_eq!(product, 9 * channels, "{axes}: one frame");
    }
}

#[test]
fn chunk_names_count_frames_in_volume_order() {
    let table = [
        ("zyx", vec![12, 4, 6], 11, "c.11.0.0"),
        ("tzyx", vec![2, 5, 4, 6], 7, "c.1.2.0.0"),
        ("tszyx", vec![2, 3, 5, 4, 6], 29, "c.1.2.4.0.0"),
        ("zyxc", vec![3, 4, 6, 3], 2, "c.2.0.0.0"),
    ];
    for (axes, shape, last, name) in table {
        let volume = array(axes, &shape, Dtype::U8);
        assert_eq!(zarr::chunk_name(&volume, last), name);
        for n in 0..=last {
            let name = zarr::chunk_name(&volume, n);
            assert_eq!(zarr::chunk_frame(&volume, &name), Some(n), "{name}");
        }
    }
    let volume = array("tzyx", &[2, 5, 4, 6], Dtype::U8);
    let refused = [
        "c",
        "c.",
        "c.2.0.0.0",
        "c.0.5.0.0",
        "c.0.0.0.1",
        "c.0.0.0",
        "c.0.00.0.0",
    ];
    for name in refused
        .into_iter()
        .chain(["c.0.0.0.0.0", "c.-1.0.0.0", "c.0.0.0.0 ", "0.0.0.0"])
    {
        assert_eq!(zarr::chunk_frame(&volume, name), None, "{name}");
    }
}
