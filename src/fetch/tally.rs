//! Who made how many frames: counted by maker, for each volume and in all.
//!
//! A maker is a decoder of the CPU, a codec on a device, or the tier below the cache. Knows their
//! names and nothing of what they do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use crate::decode;
use crate::decode::gpu::Codec;

/// Volumes whose counts are kept, those read last: some 200 bytes each.
const VOLUMES_MAX: usize = 10_000;

/// What frames from the tier below are counted as.
const FROM_CACHE_DIR: &str = "cache_dir";

/// The codecs that a device may have, in the order of [`codec_index`].
pub(super) const CODECS: [Codec; 7] = [
    Codec::Native { big_endian: false },
    Codec::Native { big_endian: true },
    Codec::Rle,
    Codec::Jpeg2000,
    Codec::Htj2k,
    Codec::JpegLossless,
    Codec::Jpeg,
];

/// Place of a codec in [`CODECS`].
pub(super) fn codec_index(codec: Codec) -> usize {
    match codec {
        Codec::Native { big_endian: false } => 0,
        Codec::Native { big_endian: true } => 1,
        Codec::Rle => 2,
        Codec::Jpeg2000 => 3,
        Codec::Htj2k => 4,
        Codec::JpegLossless => 5,
        Codec::Jpeg => 6,
    }
}

/// Who made a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    /// A decoder of the CPU, by its name.
    Cpu(&'static str),
    /// A device, by its number, and the codec it undid.
    Device(usize, Codec),
    /// The tier below the cache.
    CacheDir,
}

/// Counts by maker.
#[derive(Debug)]
pub(super) struct Tally(Box<[AtomicU64]>);

/// All makers there are, and their counts.
pub(super) struct Tallies {
    /// The CPU's decoders, each once.
    decoders: Vec<&'static str>,
    devices: Vec<String>,
    all: Tally,
    volumes: Mutex<LruCache<String, Arc<Tally>>>,
}

impl Tallies {
    pub(super) fn new(devices: Vec<String>) -> Tallies {
        let mut decoders = Vec::new();
        for name in decode::table().iter().filter_map(|e| e.served_by().ok()) {
            if !decoders.contains(&name) {
                decoders.push(name);
            }
        }
        let mut tallies = Tallies {
            decoders,
            devices,
            all: Tally(Box::default()),
            volumes: Mutex::new(LruCache::unbounded()),
        };
        tallies.all = tallies.empty();
        tallies
    }

    fn empty(&self) -> Tally {
        let count = 1 + self.decoders.len() + self.devices.len() * CODECS.len();
        Tally((0..count).map(|_| AtomicU64::new(0)).collect())
    }

    /// The counts of a volume, to be counted on.
    pub(super) fn of_volume(&self, volume: &str) -> Arc<Tally> {
        let mut volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = volumes.get(volume) {
            return known.clone();
        }
        let tally = Arc::new(self.empty());
        volumes.put(volume.to_string(), tally.clone());
        if volumes.len() > VOLUMES_MAX {
            volumes.pop_lru();
        }
        tally
    }

    /// Counts a frame of a volume.
    pub(super) fn count(&self, volume: &Tally, maker: Maker) {
        let place = match maker {
            Maker::CacheDir => Some(0),
            Maker::Cpu(name) => self
                .decoders
                .iter()
                .position(|known| *known == name)
                .map(|at| 1 + at),
            Maker::Device(device, codec) => {
                Some(1 + self.decoders.len() + device * CODECS.len() + codec_index(codec))
            }
        };
        for tally in [volume, &self.all] {
            if let Some(count) = place.and_then(|place| tally.0.get(place)) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Frames of a volume by the name of who made them, those that made any.
    pub(super) fn made_of(&self, volume: &str) -> Vec<(String, u64)> {
        let mut volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = volumes.get(volume).cloned();
        drop(volumes);
        tally.map_or_else(Vec::new, |tally| self.named(&tally))
    }

    /// The same for all volumes together.
    pub(super) fn made(&self) -> Vec<(String, u64)> {
        self.named(&self.all)
    }

    fn named(&self, tally: &Tally) -> Vec<(String, u64)> {
        let cpu = self.decoders.iter().map(|name| (*name).to_string());
        let devices = self.devices.iter();
        let devices = devices.flat_map(|device| CODECS.map(|codec| format!("{device} {codec}")));
        let names = std::iter::once(FROM_CACHE_DIR.to_string())
            .chain(cpu)
            .chain(devices);
        let counts = tally.0.iter().map(|count| count.load(Ordering::Relaxed));
        names.zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_maker_is_counted_under_its_name() {
        let tallies = Tallies::new(vec!["cuda:0".to_string(), "cuda:1".to_string()]);
        let (a, b) = (tallies.of_volume("a"), tallies.of_volume("b"));
        for maker in [
            Maker::Cpu("rle (own)"),
            Maker::Device(1, Codec::Htj2k),
            Maker::Device(1, Codec::Htj2k),
            Maker::CacheDir,
            Maker::Cpu("unheard of"),
        ] {
            tallies.count(&a, maker);
        }
        tallies.count(&b, Maker::Device(0, Codec::Native { big_endian: false }));
        let named = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
            list.iter().map(|(n, c)| ((*n).to_string(), *c)).collect()
        };
        let of_a = named(&[("cache_dir", 1), ("rle (own)", 1), ("cuda:1 htj2k", 2)]);
        assert_eq!(tallies.made_of("a"), of_a);
        assert_eq!(tallies.made_of("b"), named(&[("cuda:0 native", 1)]));
        assert_eq!(tallies.made().len(), 4);
        assert!(tallies.made_of("c").is_empty());
    }

    #[test]
    fn codecs_are_where_their_index_says() {
        for (at, codec) in CODECS.into_iter().enumerate() {
            assert_eq!(codec_index(codec), at);
        }
    }

    #[test]
    fn the_volumes_read_last_are_known() {
        let tallies = Tallies::new(Vec::new());
        for n in 0..=VOLUMES_MAX {
            let tally = tallies.of_volume(&n.to_string());
            tallies.count(&tally, Maker::CacheDir);
        }
        assert!(tallies.made_of("0").is_empty());
        assert_eq!(tallies.made_of("1").len(), 1);
    }
}
