//! Packets of pictures that OpenJPEG encodes in all its ways.
//!
//! Unsafe because the encoder is C; it is used by this test alone.
#![allow(unsafe_code)]

use std::ffi::CString;

use openjpeg_sys as opj;

use super::*;

/// How a picture is encoded.
#[derive(Debug, Clone, Copy)]
struct Way {
    columns: u32,
    rows: u32,
    components: u32,
    tile: Option<[i32; 2]>,
    progression: i32,
    /// Compression of each layer; 1 keeps everything.
    rates: &'static [f32],
    resolutions: i32,
    /// Extents of the precincts of the highest resolutions.
    precincts: &'static [i32],
    block: [i32; 2],
    /// 2 for SOP, 4 for EPH markers.
    markers: i32,
}

const PLAIN: Way = Way {
    columns: 101,
    rows: 77,
    components: 1,
    tile: None,
    progression: 0,
    rates: &[1.0],
    resolutions: 4,
    precincts: &[],
    block: [16, 8],
    markers: 0,
};

fn encode(way: &Way) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("picture.j2k");
    let name = CString::new(path.to_str().unwrap()).unwrap();
    let component = opj::opj_image_cmptparm_t {
        dx: 1,
        dy: 1,
        w: way.columns,
        h: way.rows,
        x0: 0,
        y0: 0,
        prec: 12,
        bpp: 12,
        sgnd: 0,
    };
    let mut components = vec![component; way.components as usize];
    // SAFETY: plain use of the library: what is made here is filled by its own functions, each
    // component has w * h samples, and everything is destroyed once, at the end.
    unsafe {
        let space = opj::COLOR_SPACE::OPJ_CLRSPC_UNSPECIFIED;
        let image = opj::opj_image_create(way.components, components.as_mut_ptr(), space);
        (*image).x1 = way.columns;
        (*image).y1 = way.rows;
        for index in 0..way.components {
            let data = (*(*image).comps.add(index as usize)).data;
            for at in 0..way.columns * way.rows {
                let (x, y) = (at % way.columns, at / way.columns);
                let noise = (at + index).wrapping_mul(0x9E37_79B9) >> 27;
                *data.add(at as usize) = (x * 17 + y * 9 + noise) as i32 & 0xFFF;
            }
        }
        let mut how = std::mem::zeroed::<opj::opj_cparameters_t>();
        opj::opj_set_default_encoder_parameters(&mut how);
        if let Some([width, height]) = way.tile {
            how.tile_size_on = 1;
            (how.cp_tdx, how.cp_tdy) = (width, height);
        }
        how.prog_order = match way.progression {
            0 => opj::PROG_ORDER::OPJ_LRCP,
            1 => opj::PROG_ORDER::OPJ_RLCP,
            2 => opj::PROG_ORDER::OPJ_RPCL,
            3 => opj::PROG_ORDER::OPJ_PCRL,
            _ => opj::PROG_ORDER::OPJ_CPRL,
        };
        how.cp_disto_alloc = 1;
        how.tcp_numlayers = way.rates.len() as i32;
        how.tcp_rates[..way.rates.len()].copy_from_slice(way.rates);
        how.numresolution = way.resolutions;
        (how.cblockw_init, how.cblockh_init) = (way.block[0], way.block[1]);
        how.tcp_mct = (way.components == 3) as _;
        how.res_spec = way.precincts.len() as i32;
        how.csty = way.markers | i32::from(!way.precincts.is_empty());
        how.prcw_init[..way.precincts.len()].copy_from_slice(way.precincts);
        how.prch_init[..way.precincts.len()].copy_from_slice(way.precincts);
        let codec = opj::opj_create_compress(opj::CODEC_FORMAT::OPJ_CODEC_J2K);
        assert_ne!(opj::opj_setup_encoder(codec, &mut how, image), 0, "{way:?}");
        let stream = opj::opj_stream_create_default_file_stream(name.as_ptr(), 0);
        assert_ne!(opj::opj_start_compress(codec, image, stream), 0);
        assert_ne!(opj::opj_encode(codec, stream), 0);
        assert_ne!(opj::opj_end_compress(codec, stream), 0);
        opj::opj_stream_destroy(stream);
        opj::opj_destroy_codec(codec);
        opj::opj_image_destroy(image);
    }
    std::fs::read(path).unwrap()
}

fn followed(way: &Way) -> Result<Passes, Lost> {
    let bytes = encode(way);
    let mut stream = Codestream::parse(&bytes).unwrap();
    stream.check_complete(&bytes).unwrap();
    follow(&stream, &bytes)
}

/// All combinations of what moves packets about.
fn ways() -> Vec<Way> {
    let mut ways = Vec::new();
    for progression in 0..5 {
        for tile in [None, Some([64, 32]), Some([37, 50])] {
            for precincts in [&[][..], &[32], &[64, 32, 16]] {
                for components in [1, 3] {
                    ways.push(Way {
                        progression,
                        tile,
                        precincts,
                        components,
                        markers: 2 * (progression % 4),
                        ..PLAIN
                    });
                }
            }
        }
    }
    ways
}

#[test]
fn lossless_pictures_are_complete() {
    for way in ways() {
        for rates in [&[1.0][..], &[40.0, 10.0, 1.0]] {
            let way = Way { rates, ..way };
            let passes = followed(&way);
            assert!(passes.is_ok_and(|passes| passes.complete), "{way:?}");
        }
    }
    let small = Way {
        columns: 2,
        rows: 3,
        resolutions: 2,
        ..PLAIN
    };
    assert!(followed(&small).is_ok_and(|passes| passes.complete));
}

#[test]
fn pictures_cut_to_a_rate_are_not() {
    for way in ways() {
        for rates in [&[8.0][..], &[40.0, 10.0]] {
            let way = Way { rates, ..way };
            let passes = followed(&way);
            assert!(passes.is_ok_and(|passes| !passes.complete), "{way:?}");
        }
    }
}

#[test]
fn a_byte_too_few_is_broken() {
    // Packets that end early: the last tile-part is shorter than its packets say.
    let way = Way {
        markers: 4,
        ..PLAIN
    };
    let bytes = encode(&way);
    let stream = Codestream::parse(&bytes).unwrap();
    assert!(follow(&stream, &bytes).is_ok());
    let at = stream.tile_parts_at;
    let length = be32(&bytes, at + 6).unwrap();
    for cut in [1, 10, 100] {
        let mut shorter = bytes.clone();
        shorter[at + 6..at + 10].copy_from_slice(&(length - cut).to_be_bytes());
        shorter.truncate(at + (length - cut) as usize);
        assert_eq!(follow(&stream, &shorter), Err(Lost::Broken), "{cut}");
    }
}
