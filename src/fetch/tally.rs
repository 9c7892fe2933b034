//! Who made how many frames: counted by maker, for each volume and in all.
//!
//! A maker is a decoder of the CPU, a codec on a device, or the tier below the cache. Knows their
//! names and nothing of what they do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use serde::{Deserialize, Serialize};

use crate::decode;
use crate::decode::gpu::Codec;

/// Volumes whose counts are kept, those read last: some 200 bytes each.
const VOLUMES_MAX: usize = 10_000;

/// What is said of a device's codec that differs in the order of bytes alone.
const NATIVE: &str = "native";

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
    /// A decoder of the CPU, by its name, and the codec it undid.
    Cpu(&'static str, &'static str),
    /// A device, by its number, and the codec it undid.
    Device(usize, Codec),
    /// The tier below the cache.
    CacheDir,
}

/// Frames by maker.
#[derive(Debug)]
pub(super) struct Tally(Box<[AtomicU64]>);

/// What one maker has made of all volumes so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Made {
    /// `cpu`, `device` or `cache_dir`.
    pub tier: String,
    /// Name of the device; empty for the others.
    pub device: String,
    /// Name of the CPU's decoder; empty for the others.
    pub decoder: String,
    /// Kind of coding that was undone; empty for the tier below.
    pub codec: String,
    /// Frames.
    pub frames: u64,
    /// Bytes of these, decoded.
    pub bytes: u64,
    /// Time it took, ns, all threads added up; 0 for the tier below.
    pub ns: u64,
}

/// Bytes and time of one maker.
#[derive(Debug, Default)]
struct Work {
    bytes: AtomicU64,
    ns: AtomicU64,
}

/// All makers there are, and their counts.
pub(super) struct Tallies {
    /// The CPU's decoders with each codec they undo.
    decoders: Vec<(&'static str, &'static str)>,
    devices: Vec<String>,
    all: Tally,
    work: Box<[Work]>,
    volumes: Mutex<LruCache<String, Arc<Tally>>>,
}

impl Tallies {
    pub(super) fn new(devices: Vec<String>) -> Tallies {
        let mut decoders = Vec::new();
        for entry in decode::table() {
            let known = entry.served_by().map(|name| (name, entry.codec()));
            if let Some(pair) = known.ok().filter(|pair| !decoders.contains(pair)) {
                decoders.push(pair);
            }
        }
        let mut tallies = Tallies {
            decoders,
            devices,
            all: Tally(Box::default()),
            work: Box::default(),
            volumes: Mutex::new(LruCache::unbounded()),
        };
        tallies.all = tallies.empty();
        tallies.work = tallies.all.0.iter().map(|_| Work::default()).collect();
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

    /// Counts a frame of a volume, of so many bytes, that took `ns` to make.
    pub(super) fn count(&self, volume: &Tally, maker: Maker, bytes: u64, ns: u64) {
        let place = match maker {
            Maker::CacheDir => Some(0),
            Maker::Cpu(name, codec) => self
                .decoders
                .iter()
                .position(|known| *known == (name, codec))
                // Of a codec that the table does not have: better a wrong one than uncounted.
                .or_else(|| self.decoders.iter().position(|known| known.0 == name))
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
        if let Some(work) = place.and_then(|place| self.work.get(place)) {
            work.bytes.fetch_add(bytes, Ordering::Relaxed);
            work.ns.fetch_add(ns, Ordering::Relaxed);
        }
    }

    /// Frames of a volume by the name of who made them, those that made any.
    pub(super) fn made_of(&self, volume: &str) -> Vec<(String, u64)> {
        let mut volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = volumes.get(volume).cloned();
        drop(volumes);
        tally.map_or_else(Vec::new, |tally| self.named(&tally))
    }

    /// What each maker has made of all volumes together, those that made any.
    pub(super) fn made(&self) -> Vec<Made> {
        let cpu = self.decoders.iter().map(|(decoder, codec)| Made {
            tier: "cpu".into(),
            decoder: (*decoder).into(),
            codec: (*codec).into(),
            ..Made::default()
        });
        let devices = self.devices.iter().flat_map(|device| {
            CODECS.map(|codec| Made {
                tier: "device".into(),
                device: device.clone(),
                codec: match codec {
                    Codec::Native { .. } => NATIVE.into(),
                    codec => codec.to_string(),
                },
                ..Made::default()
            })
        });
        let below = Made {
            tier: FROM_CACHE_DIR.into(),
            ..Made::default()
        };
        let makers = std::iter::once(below).chain(cpu).chain(devices);
        let counts = self.all.0.iter().zip(&self.work);
        let mut made: Vec<Made> = Vec::new();
        for (maker, (frames, work)) in makers.zip(counts) {
            let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
            let (frames, bytes, ns) = (get(frames), get(&work.bytes), get(&work.ns));
            let is_same = |known: &&mut Made| {
                (&known.tier, &known.device, &known.decoder, &known.codec)
                    == (&maker.tier, &maker.device, &maker.decoder, &maker.codec)
            };
            match made.iter_mut().find(is_same) {
                Some(known) => {
                    known.frames += frames;
                    known.bytes += bytes;
                    known.ns += ns;
                }
                None if frames > 0 => made.push(Made {
                    frames,
                    bytes,
                    ns,
                    ..maker
                }),
                None => {}
            }
        }
        made
    }

    fn named(&self, tally: &Tally) -> Vec<(String, u64)> {
        let cpu = self.decoders.iter().map(|(name, _)| (*name).to_string());
        let devices = self.devices.iter();
        let devices = devices.flat_map(|device| CODECS.map(|codec| format!("{device} {codec}")));
        let names = std::iter::once(FROM_CACHE_DIR.to_string())
            .chain(cpu)
            .chain(devices);
        let counts = tally.0.iter().map(|count| count.load(Ordering::Relaxed));
        let mut named: Vec<(String, u64)> = Vec::new();
        for (name, count) in names.zip(counts).filter(|(_, count)| *count > 0) {
            match named.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += count,
                None => named.push((name, count)),
            }
        }
        named
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
            Maker::Cpu("rle (own)", "rle"),
            Maker::Device(1, Codec::Htj2k),
            Maker::Device(1, Codec::Htj2k),
            Maker::CacheDir,
            Maker::Cpu("unheard of", "rle"),
        ] {
            tallies.count(&a, maker, 100, 7);
        }
        for big_endian in [false, true] {
            tallies.count(&b, Maker::Device(0, Codec::Native { big_endian }), 10, 3);
        }
        let named = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
            list.iter().map(|(n, c)| ((*n).to_string(), *c)).collect()
        };
        let of_a = named(&[("cache_dir", 1), ("rle (own)", 1), ("cuda:1 htj2k", 2)]);
        assert_eq!(tallies.made_of("a"), of_a);
        let of_b = named(&[("cuda:0 native", 1), ("cuda:0 native, big endian", 1)]);
        assert_eq!(tallies.made_of("b"), of_b);
        let made = tallies.made();
        let shown = |m: &Made| format!("{} {} {} {}", m.tier, m.device, m.decoder, m.codec);
        let sums: Vec<_> = made
            .iter()
            .map(|m| (shown(m), m.frames, m.bytes, m.ns))
            .collect();
        let expected = [
            ("cache_dir   ".to_string(), 1, 100, 7),
            ("cpu  rle (own) rle".to_string(), 1, 100, 7),
            ("device cuda:0  native".to_string(), 2, 20, 6),
            ("device cuda:1  htj2k".to_string(), 2, 200, 14),
        ];
        assert_eq!(sums, expected);
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
            tallies.count(&tally, Maker::CacheDir, 1, 0);
        }
        assert!(tallies.made_of("0").is_empty());
        assert_eq!(tallies.made_of("1").len(), 1);
    }
}
