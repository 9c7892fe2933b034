//! What a file is to hold, by its name: the format, and which values. Pure.

use std::path::Path;

use crate::cli::exit::Mistake;
use crate::tree::ArrayFile;
use crate::volume::Variant;

/// A format to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The NumPy array.
    Npy,
    /// The numbers alone.
    Raw,
    /// NIfTI.
    Nii,
    /// NIfTI, gzipped.
    NiiGz,
    /// NRRD in one file.
    Nrrd,
    /// An NRRD header and a `.raw` beside it.
    Nhdr,
    /// MetaImage in one file.
    Mha,
    /// A MetaImage header and a `.raw` beside it.
    Mhd,
    /// A Zarr directory.
    Zarr,
    /// What is known of the volume.
    Json,
    /// The preview.
    Png,
}

/// Endings and what they stand for; of two that fit the longer one is meant.
const ENDINGS: [(&str, Form); 11] = [
    (".nii.gz", Form::NiiGz),
    (".npy", Form::Npy),
    (".raw", Form::Raw),
    (".nii", Form::Nii),
    (".nrrd", Form::Nrrd),
    (".nhdr", Form::Nhdr),
    (".mha", Form::Mha),
    (".mhd", Form::Mhd),
    (".zarr", Form::Zarr),
    (".json", Form::Json),
    (".png", Form::Png),
];

/// What is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The format.
    pub form: Form,
    /// Which values.
    pub variant: Variant,
}

impl Form {
    /// Formats that exist of the values as they are shown, and of no variant.
    fn is_plain(self) -> bool {
        matches!(self, Form::Zarr | Form::Json | Form::Png)
    }
}

/// The variants by their words, for clap.
pub fn variant(word: &str) -> Result<Variant, String> {
    let known = || Variant::ALL.into_iter().filter(|v| !v.word().is_empty());
    known().find(|v| v.word() == word).ok_or_else(|| {
        let words: Vec<&str> = known().map(Variant::word).collect();
        format!("write one of {}", words.join(", "))
    })
}

/// Decides by the name of the file, by the flag, and by the name that the series was called by:
/// `volume.f32.npy` means the same in each place.
pub fn wanted(file: &Path, flag: Option<Variant>, series: &str) -> Result<Wanted, Mistake> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let ending = ENDINGS.iter().find(|(ending, _)| name.ends_with(ending));
    let Some((ending, form)) = ending else {
        let endings: Vec<&str> = ENDINGS.iter().map(|(ending, _)| *ending).collect();
        return Err(Mistake(format!(
            "the ending of FILE says which format to write: {}",
            endings.join(" ")
        )));
    };
    let stem = name.strip_suffix(ending).unwrap_or_default();
    let last = series.trim_end_matches('/').rsplit('/').next();
    let named = [
        ArrayFile::parse(&format!("{stem}.npy")),
        last.and_then(ArrayFile::parse),
    ];
    let named = named.into_iter().flatten().map(|file| file.variant);
    let mut asked: Vec<Variant> = named.filter(|v| *v != Variant::Values).collect();
    asked.extend(flag);
    asked.dedup();
    let variant = match asked[..] {
        [] => Variant::Values,
        [variant] => variant,
        _ => {
            let words: Vec<&str> = asked.iter().map(|variant| variant.word()).collect();
            let words = words.join(" and ");
            return Err(Mistake(format!("which values: {words}? Ask for one")));
        }
    };
    if form.is_plain() && variant != Variant::Values {
        return Err(Mistake(format!(
            "{ending} shows the values as they are: it has no `{}`",
            variant.word()
        )));
    }
    Ok(Wanted {
        form: *form,
        variant,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Dtype;

    #[test]
    fn names_say_what_is_wanted() {
        let f32 = Variant::Cast(Dtype::F32);
        let cases = [
            ("a.npy", None, "1.2", Form::Npy, Variant::Values),
            ("dir.png/a.b.nii", None, "1.2", Form::Nii, Variant::Values),
            ("a.nii.gz", Some(f32), "1.2", Form::NiiGz, f32),
            ("volume.f32.nhdr", None, "1.2", Form::Nhdr, f32),
            ("volume.f32.mhd", Some(f32), "1.2", Form::Mhd, f32),
            ("a.raw", None, "series/1.2/volume.f32.npy", Form::Raw, f32),
            ("a.raw", None, "series/1.2/", Form::Raw, Variant::Values),
            (
                "volume.stored.nrrd",
                None,
                "1.2",
                Form::Nrrd,
                Variant::Stored,
            ),
            // Only the grammar's own names mean something.
            ("scan.f32.npy", None, "1.2", Form::Npy, Variant::Values),
            ("volume.zarr", None, "1.2", Form::Zarr, Variant::Values),
        ];
        for (file, flag, series, form, variant) in cases {
            let wanted = wanted(Path::new(file), flag, series).expect(file);
            assert_eq!(wanted, Wanted { form, variant }, "{file}");
        }
    }

    #[test]
    fn contradictions_and_unknown_endings_are_mistakes() {
        let f32 = Variant::Cast(Dtype::F32);
        let cases = [
            ("a", None, ".nii.gz"),
            ("a.dcm", None, ".nii.gz"),
            ("", None, ".nii.gz"),
            ("volume.stored.npy", Some(f32), "stored and f32"),
            ("a.zarr", Some(f32), "has no `f32`"),
            ("a.json", Some(Variant::Stored), "has no `stored`"),
        ];
        for (file, flag, words) in cases {
            let why = wanted(Path::new(file), flag, "1.2").expect_err(file).0;
            assert!(why.contains(words), "{file}: {why}");
        }
        assert_eq!(variant("f16"), Ok(Variant::Cast(Dtype::F16)));
        assert!(variant("f99").expect_err("unknown").contains("stored, f32"));
        assert!(variant("").is_err());
    }
}
