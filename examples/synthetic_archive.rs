//! Writes a synthetic archive of any size, to see how an index does at scale: realistic headers of
//! about 2.5 KB, tiny pixels, so that a million files take 4 GB.
//!
//! `cargo run --release --example synthetic_archive -- DIRECTORY INSTANCES [--flat] [--long]`
//!
//! Series of 100 to 300 CT slices, four a study, one study a patient. Without `--flat` there is a
//! directory for each patient, study and series; with it all files lie in one. With `--long` headers
//! have the 260 elements and 6 KB of a CT with private groups, and files take twice the space.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

const SIDE: u16 = 16;
const EXPLICIT_LITTLE: &str = "1.2.840.10008.1.2.1";
const CT_IMAGE: &str = "1.2.840.10008.5.1.4.1.1.2";
const ROOT: &str = "1.2.826.0.1.3680043.10.1117";
const SERIES_A_STUDY: usize = 4;

/// Bytes of an explicit little endian dataset, element by element in ascending order.
#[derive(Default)]
struct Dataset(Vec<u8>);

impl Dataset {
    fn raw(&mut self, tag: u32, vr: &str, value: &[u8]) -> &mut Dataset {
        let (group, element) = ((tag >> 16) as u16, tag as u16);
        self.0.extend(group.to_le_bytes());
        self.0.extend(element.to_le_bytes());
        self.0.extend(vr.as_bytes());
        match vr {
            "OB" | "OW" | "SQ" | "UN" | "UT" => {
                self.0.extend([0, 0]);
                self.0.extend((value.len() as u32).to_le_bytes());
            }
            _ => self.0.extend((value.len() as u16).to_le_bytes()),
        }
        self.0.extend(value);
        self
    }

    fn text(&mut self, tag: u32, vr: &str, value: &str) -> &mut Dataset {
        let mut bytes = value.as_bytes().to_vec();
        if bytes.len() % 2 == 1 {
            bytes.push(if vr == "UI" { 0 } else { b' ' });
        }
        self.raw(tag, vr, &bytes)
    }

    fn us(&mut self, tag: u32, value: u16) -> &mut Dataset {
        self.raw(tag, "US", &value.to_le_bytes())
    }
}

/// One series: its number in the archive and how many slices it has.
#[derive(Clone, Copy)]
struct Series {
    number: usize,
    slices: usize,
    /// Private elements of each file.
    private: u32,
}

impl Series {
    fn study(&self) -> usize {
        self.number / SERIES_A_STUDY
    }

    fn uid(&self) -> String {
        format!("{ROOT}.{}.{}", self.study() + 1, self.number + 1)
    }

    fn directory(&self) -> PathBuf {
        let (study, series) = (self.study(), self.number % SERIES_A_STUDY + 1);
        format!("patient{study:06}/CT_20240229/{series:03}_AXIAL").into()
    }

    fn slice(&self, slice: usize) -> Vec<u8> {
        let instance = format!("{}.{}", self.uid(), slice + 1);
        let mut meta = Dataset::default();
        meta.raw(0x0002_0001, "OB", &[0, 1])
            .text(0x0002_0002, "UI", CT_IMAGE)
            .text(0x0002_0003, "UI", &instance)
            .text(0x0002_0010, "UI", EXPLICIT_LITTLE)
            .text(0x0002_0012, "UI", ROOT)
            .text(0x0002_0013, "SH", "SYNTHETIC_1");
        let mut file = Dataset([&[0; 128], &b"DICM"[..]].concat());
        file.raw(0x0002_0000, "UL", &(meta.0.len() as u32).to_le_bytes());
        file.0.extend(meta.0);
        self.general(&mut file, &instance);
        self.acquisition(&mut file, slice);
        self.image(&mut file, slice);
        file.0
    }

    fn general(&self, file: &mut Dataset, instance: &str) {
        let patient = self.study();
        file.text(0x0008_0005, "CS", "ISO_IR 100")
            .text(0x0008_0008, "CS", "ORIGINAL\\PRIMARY\\AXIAL")
            .text(0x0008_0016, "UI", CT_IMAGE)
            .text(0x0008_0018, "UI", instance)
            .text(0x0008_0020, "DA", "20240229")
            .text(0x0008_0021, "DA", "20240229")
            .text(0x0008_0022, "DA", "20240229")
            .text(0x0008_0023, "DA", "20240229")
            .text(0x0008_0030, "TM", "101530.123000")
            .text(0x0008_0031, "TM", "101602.500000")
            .text(0x0008_0050, "SH", &format!("ACC{patient:07}"))
            .text(0x0008_0060, "CS", "CT")
            .text(0x0008_0070, "LO", "SYNTHETIC MEDICAL SYSTEMS")
            .text(0x0008_0080, "LO", "General Hospital")
            .text(0x0008_0081, "ST", "1 Main Street")
            .text(0x0008_0090, "PN", "Referring^Physician")
            .text(0x0008_1010, "SH", "CT01")
            .text(0x0008_1030, "LO", "CT Thorax/Abdomen with contrast")
            .text(
                0x0008_103E,
                "LO",
                &format!("AXIAL {}", self.number % SERIES_A_STUDY + 1),
            )
            .text(0x0008_1040, "LO", "Radiology")
            .text(0x0008_1050, "PN", "Performing^Physician")
            .text(0x0008_1070, "PN", "Operator")
            .text(0x0008_1090, "LO", "Synthetic 64")
            .text(0x0010_0010, "PN", &format!("Patient^Number{patient}"))
            .text(0x0010_0020, "LO", &format!("PID{patient:07}"))
            .text(0x0010_0030, "DA", "19600101")
            .text(0x0010_0040, "CS", "O")
            .text(0x0010_1010, "AS", "064Y")
            .text(0x0010_1030, "DS", "75.5")
            .text(0x0010_21B0, "LT", "No history given");
    }

    fn acquisition(&self, file: &mut Dataset, slice: usize) {
        file.text(0x0018_0010, "LO", "IOHEXOL 300")
            .text(0x0018_0015, "CS", "CHEST")
            .text(0x0018_0022, "CS", "HELICAL MODE")
            .text(0x0018_0050, "DS", "1.250000")
            .text(0x0018_0060, "DS", "120")
            .text(0x0018_0090, "DS", "500.000000")
            .text(0x0018_1000, "LO", "000000012345")
            .text(0x0018_1020, "LO", "syn.1.2.3")
            .text(0x0018_1030, "LO", "5.1 Thorax Abdomen Routine")
            .text(0x0018_1100, "DS", "360.000000")
            .text(0x0018_1110, "DS", "949.075012")
            .text(0x0018_1111, "DS", "541.000000")
            .text(0x0018_1120, "DS", "0.000000")
            .text(0x0018_1130, "DS", "157.500000")
            .text(0x0018_1140, "CS", "CW")
            .text(0x0018_1150, "IS", "570")
            .text(0x0018_1151, "IS", &(300 + slice % 100).to_string())
            .text(0x0018_1152, "IS", "171")
            .text(0x0018_1160, "SH", "BODY FILTER")
            .text(0x0018_1170, "IS", "36000")
            .text(0x0018_1190, "DS", "1.200000")
            .text(0x0018_1210, "SH", "STANDARD")
            .text(0x0018_5100, "CS", "FFS");
        file.text(0x0019_0010, "LO", "SYNTHETIC_ACQU_01");
        for n in 0..self.private {
            let tag = 0x0019_1001 + n;
            match n % 3 {
                0 => file.text(tag, "DS", &format!("{:.6}", f64::from(n) * 1.37)),
                1 => file.text(tag, "LO", &format!("ELEMENT OF SOME LENGTH {n}")),
                _ => file.raw(tag, "SS", &(n as i16).to_le_bytes()),
            };
        }
    }

    fn image(&self, file: &mut Dataset, slice: usize) {
        let (study, z) = (self.study() + 1, -250.0 + 1.25 * slice as f64);
        file.text(0x0020_000D, "UI", &format!("{ROOT}.{study}"))
            .text(0x0020_000E, "UI", &self.uid())
            .text(0x0020_0010, "SH", &format!("{study}"))
            .text(
                0x0020_0011,
                "IS",
                &(self.number % SERIES_A_STUDY + 1).to_string(),
            )
            .text(0x0020_0012, "IS", "1")
            .text(0x0020_0013, "IS", &(slice + 1).to_string())
            .text(
                0x0020_0032,
                "DS",
                &format!("-180.000000\\-175.500000\\{z:.6}"),
            )
            .text(
                0x0020_0037,
                "DS",
                "1.000000\\0.000000\\0.000000\\0.000000\\1.000000\\0.000000",
            )
            .text(0x0020_0052, "UI", &format!("{ROOT}.{study}.0"))
            .text(0x0020_0060, "CS", "")
            .text(0x0020_1040, "LO", "SN")
            .text(0x0020_1041, "DS", &format!("{z:.6}"))
            .us(0x0028_0002, 1)
            .text(0x0028_0004, "CS", "MONOCHROME2")
            .us(0x0028_0010, SIDE)
            .us(0x0028_0011, SIDE)
            .text(0x0028_0030, "DS", "0.703125\\0.703125")
            .us(0x0028_0100, 16)
            .us(0x0028_0101, 16)
            .us(0x0028_0102, 15)
            .us(0x0028_0103, 1)
            .raw(0x0028_0120, "SS", &(-2000_i16).to_le_bytes())
            .text(0x0028_1050, "DS", "40")
            .text(0x0028_1051, "DS", "400")
            .text(0x0028_1052, "DS", "-1024")
            .text(0x0028_1053, "DS", "1")
            .text(0x0028_1054, "LO", "HU")
            .raw(
                0x7FE0_0010,
                "OW",
                &(slice as u16)
                    .to_le_bytes()
                    .repeat(usize::from(SIDE) * usize::from(SIDE)),
            );
    }
}

/// Series of 100 to 300 slices that are `instances` together; the last is cut short.
fn series(instances: usize, private: u32) -> Vec<Series> {
    let (mut all, mut left) = (Vec::new(), instances);
    while left > 0 {
        let number = all.len();
        let slices = (100 + number * 83 % 201).min(left);
        left -= slices;
        all.push(Series {
            number,
            slices,
            private,
        });
    }
    all
}

fn write(root: &Path, one: Series, is_flat: bool) -> io::Result<()> {
    let directory = if is_flat {
        root.to_owned()
    } else {
        root.join(one.directory())
    };
    fs::create_dir_all(&directory)?;
    for slice in 0..one.slices {
        // Names say nothing of the order of the slices, as in real archives.
        let shuffled = slice * 7919 % 10_007;
        let name = match is_flat {
            true => format!("{:06}_{shuffled:05}.dcm", one.number),
            false => format!("IM{shuffled:05}.dcm"),
        };
        fs::write(directory.join(name), one.slice(slice))?;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let (flags, words): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|word| word.starts_with("--"));
    let is_flat = flags.iter().any(|flag| flag == "--flat");
    let private = if flags.iter().any(|flag| flag == "--long") {
        180
    } else {
        30
    };
    let [root, instances] = words.as_slice() else {
        return Err(io::Error::other(
            "usage: synthetic_archive DIRECTORY INSTANCES [--flat]",
        ));
    };
    let instances = instances.parse().map_err(io::Error::other)?;
    let root = Path::new(root);
    let all = series(instances, private);
    all.par_iter()
        .try_for_each(|one| write(root, *one, is_flat))?;
    let bytes = all.first().map_or(0, |one| one.slice(0).len());
    println!(
        "{instances} files of about {bytes} bytes, {} series",
        all.len()
    );
    Ok(())
}
