//! NVIDIA's libraries that may be there or not: found, loaded, and looked through for functions.
//!
//! Unsafe because loading a library runs its initialisers, and a symbol of it is believed to have the
//! type written where it is looked up ([`functions`]). A library that was loaded stays so until the
//! process ends: one that has run code of its own, and a CUDA library above all, takes with it what
//! the driver still calls at exit. Must not know what any library is for.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use libloading::Library;

/// Version of a library: major, minor, patch level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version(pub(super) [i32; 3]);

impl Version {
    /// The same, if it is at least this one.
    ///
    /// # Errors
    /// A sentence: it is older.
    pub(super) fn at_least(self, least: (i32, i32)) -> Result<Version, String> {
        let [major, minor, _] = self.0;
        let (least_major, least_minor) = least;
        match (major, minor) < least {
            true => Err(format!(
                "version {major}.{minor} is too old, {least_major}.{least_minor} is needed"
            )),
            false => Ok(self),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// The library of the first of these file names that is beside the program, in `lib` beside it, or
/// where the loader finds it (LD_LIBRARY_PATH, /etc/ld.so.conf).
///
/// # Errors
/// A sentence: it is not there, or cannot be loaded.
pub(super) fn find(names: &[&str]) -> Result<&'static Library, String> {
    let beside = std::env::current_exe().ok();
    let beside = beside.as_deref().and_then(Path::parent);
    let dirs = beside.map(|dir| [dir.to_path_buf(), dir.join("lib")]);
    for dir in dirs.into_iter().flatten() {
        if let Some(path) = names
            .iter()
            .map(|name| dir.join(name))
            .find(|p| p.is_file())
        {
            return open(path.as_os_str(), names);
        }
    }
    let mut why = Err("no name for it".to_string());
    for name in names {
        why = open(OsStr::new(name), names);
        if why.is_ok() {
            break;
        }
    }
    why
}

/// The library of this directory and no other.
///
/// # Errors
/// As [`find`].
pub(super) fn find_in(dir: &Path, names: &[&str]) -> Result<&'static Library, String> {
    let paths = names.iter().map(|name| dir.join(name));
    let path = paths.clone().find(|path| path.is_file());
    let path = path.or_else(|| paths.clone().next()).unwrap_or_default();
    // A path without a slash would be searched for.
    let path = std::path::absolute(&path).unwrap_or(path);
    open(path.as_os_str(), names)
}

fn open(name: &OsStr, names: &[&str]) -> Result<&'static Library, String> {
    // SAFETY: NVIDIA's libraries do nothing when they are loaded but set up their own statics; which
    // file is loaded is the administrator's choice, as for any library.
    let library = unsafe { Library::new(name) }.map_err(|error| {
        let text = error.to_string();
        let why: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
        let name = names.first().copied().unwrap_or("it");
        format!(
            "{name} cannot be loaded: put it beside the program, or its directory into \
             LD_LIBRARY_PATH ({why})"
        )
    })?;
    Ok(Box::leak(Box::new(library)))
}

/// That a function was not found, in words.
pub(super) fn missing(symbol: &str) -> String {
    format!("it has no function {symbol}: too old, or another library")
}

/// Declares a table of functions that is loaded whole or not at all, but for
/// those after a question mark, which may be absent.
macro_rules! functions {
    ($($field:ident = $symbol:literal ($($argument:ty),*) -> $result:ty;)*
     $(? $may:ident = $maybe:literal ($($its:ty),*) -> $gives:ty;)*) => {
        /// The functions of the library.
        pub(super) struct Functions {
            $(pub $field: unsafe extern "C" fn($($argument),*) -> $result,)*
            $(pub $may: Option<unsafe extern "C" fn($($its),*) -> $gives>,)*
        }

        impl Functions {
            /// Looks up all functions.
            ///
            /// # Errors
            /// The first that is missing, in words.
            pub fn find(library: &'static libloading::Library) -> Result<Functions, String> {
                Ok(Functions {
                    $($field: {
                        // SAFETY: the type is that of the symbol in NVIDIA's header, which keeps its
                        // functions within a major version; the library is never unloaded.
                        let symbol = unsafe { library.get($symbol) };
                        *symbol.map_err(|_| $crate::decode::gpu::library::missing($symbol))?
                    },)*
                    $($may: {
                        // SAFETY: as above.
                        unsafe { library.get($maybe) }.ok().map(|symbol| *symbol)
                    },)*
                })
            }

            /// The names that are looked up, and the types of their arguments.
            #[cfg(test)]
            pub const SIGNATURES: &'static [(&'static str, &'static [&'static str])] = &[
                $(($symbol, &[$(stringify!($argument)),*]),)*
                $(($maybe, &[$(stringify!($its)),*]),)*
            ];
        }
    };
}
pub(super) use functions;
