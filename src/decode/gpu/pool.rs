//! The devices of a mount: all started at once, and chosen among by what is decoded.

use std::io;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::nodes;
use super::remote::{Lane, Launch, Remote, State};
use crate::hash::fnv1a;

/// Devices looked for by themselves at most.
const AUTO_MAX: u32 = 16;

/// How long a warning waits for devices that take long to say what they are.
const SETTLE_TIME: Duration = Duration::from_secs(300);

/// Which devices are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All that can be used; no word of those that cannot.
    Auto,
    /// These; one warning if some cannot be used.
    These(Vec<u32>),
}

/// The devices of a mount. Dropped, it ends their processes.
pub struct Pool {
    devices: Vec<Arc<Remote>>,
    /// Ends when it has been said which devices are absent.
    warned: Mutex<Option<Receiver<()>>>,
}

impl Pool {
    /// Begins to start the devices, and returns at once: each with its lanes, which are of use
    /// whenever it is ready. It may turn out to be absent.
    ///
    /// # Errors
    ///
    /// The system has no thread, descriptor or address space left.
    pub fn start(wanted: &Wanted, launch: &Launch) -> io::Result<(Pool, Vec<Vec<Lane>>)> {
        let ordinals: Vec<u32> = match wanted {
            Wanted::Auto => (0..nodes::device_count().min(AUTO_MAX)).collect(),
            Wanted::These(ordinals) => ordinals.clone(),
        };
        let mut pool = Pool::none();
        let mut all_lanes = Vec::new();
        for ordinal in ordinals {
            let (remote, lanes) = Remote::start(ordinal, launch.clone())?;
            pool.devices.push(Arc::new(remote));
            all_lanes.push(lanes);
        }
        if matches!(wanted, Wanted::These(_)) {
            let devices = pool.devices.clone();
            let (said, warned) = mpsc::channel();
            let warn = move || {
                if let Some(warning) = warning(&devices) {
                    tracing::warn!("{warning}");
                }
                drop(said);
            };
            pool.warned = Mutex::new(Some(warned));
            thread::Builder::new().name("gpus".into()).spawn(warn)?;
        }
        Ok((pool, all_lanes))
    }

    /// A pool without devices.
    pub fn none() -> Pool {
        Pool {
            devices: Vec::new(),
            warned: Mutex::new(None),
        }
    }

    /// Waits until the warning of devices that are asked for and absent is given, if there is to be
    /// one, but not longer than `longest`.
    pub fn wait_warned(&self, longest: Duration) {
        let warned = self
            .warned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(warned) = warned {
            // Nothing is ever sent: the thread's end lets go of its side.
            let _ = warned.recv_timeout(longest);
        }
    }

    /// The devices, in the order asked for; some may be absent.
    pub fn devices(&self) -> &[Arc<Remote>] {
        &self.devices
    }

    /// The device for what `key` names, a series for example: the same each time, as long as it is
    /// ready. Another one in its place when it is not, and then all other keys keep theirs. `None`
    /// if no device is ready.
    pub fn choose(&self, key: &[u8]) -> Option<&Arc<Remote>> {
        let ready = self.devices.iter().filter(|remote| remote.is_ready());
        ready.max_by_key(|remote| weight(key, remote.ordinal()))
    }

    /// Ends the devices' processes and waits for their end.
    pub fn close(&self) {
        // First all are told, then each is waited for.
        for remote in &self.devices {
            remote.retire("closed");
        }
        for remote in &self.devices {
            remote.close();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

/// How much a device wants a key (rendezvous hashing): FNV-1a over the key and the number, mixed so
/// that the last bytes reach the high bits.
fn weight(key: &[u8], ordinal: u32) -> u64 {
    let hash = fnv1a(key.iter().copied().chain(ordinal.to_le_bytes()));
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

/// Waits until it is known which devices can be used: what to say of those that cannot. The keeper
/// of a device that has failed has warned itself.
fn warning(devices: &[Arc<Remote>]) -> Option<String> {
    let deadline = Instant::now() + SETTLE_TIME;
    let absent = devices
        .iter()
        .filter_map(|remote| match remote.wait_settled(Some(deadline)) {
            State::Absent(why) => Some((remote.ordinal().to_string(), why)),
            _ => None,
        });
    let (ordinals, reasons): (Vec<String>, Vec<String>) = absent.unzip();
    let rest = match ordinals.len() == devices.len() {
        true => "everything is decoded on the CPU",
        false => "the others are used",
    };
    let ordinals = ordinals.join("+");
    let why = reasons.first()?;
    Some(format!("device=cuda:{ordinals}: {why}; {rest}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn keys_are_spread_over_devices_and_stay() {
        let keys: Vec<String> = (0..3000).map(|n| format!("1.2.840.113619.{n}")).collect();
        let best = |key: &str, of: &[u32]| {
            let best = of.iter().max_by_key(|n| weight(key.as_bytes(), **n));
            *best.expect("a device")
        };
        let mut counts = [0; 3];
        for key in &keys {
            let chosen = best(key, &[0, 1, 2]);
            counts[chosen as usize] += 1;
            if chosen != 1 {
                assert_eq!(best(key, &[0, 2]), chosen, "it stays when another is gone");
            }
        }
        assert!(
            counts.iter().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
    }

    fn started(part: &str, ordinals: &[u32]) -> (Pool, Vec<Vec<Lane>>, Option<String>) {
        let wanted = Wanted::These(ordinals.to_vec());
        let (pool, lanes) = Pool::start(&wanted, &testing::launch(part)).expect("started");
        let warning = warning(pool.devices());
        (pool, lanes, warning)
    }

    #[test]
    fn devices_that_are_not_there_are_one_warning() {
        let (pool, mut lanes, warning) = started("two", &[1, 2, 0, 5]);
        let expected = "device=cuda:2+5: no such device; the others are used";
        assert_eq!(warning.as_deref(), Some(expected));
        let states: Vec<State> = pool.devices().iter().map(|remote| remote.state()).collect();
        let absent = State::Absent("no such device".into());
        assert_eq!(states, [State::Ready, absent.clone(), State::Ready, absent]);
        testing::decode_well(&mut lanes[0][1], b"x");
        testing::decode_well(&mut lanes[2][0], b"y");
        let (_, _, warning) = started("absent", &[0]);
        let expected = "device=cuda:0: no driver; everything is decoded on the CPU";
        assert_eq!(warning.as_deref(), Some(expected));
        assert_eq!(started("well", &[0]).2, None);
    }

    #[test]
    fn another_device_takes_over_and_a_closed_pool_has_none() {
        let (pool, _lanes, _) = started("well", &[0, 1]);
        let chosen = |key: &[u8]| pool.choose(key).map(|remote| remote.ordinal());
        let first = chosen(b"1.2.3").expect("a device");
        assert_eq!(chosen(b"1.2.3"), Some(first));
        pool.choose(b"1.2.3")
            .expect("a device")
            .retire("wrong bytes");
        assert_eq!(chosen(b"1.2.3"), Some(1 - first));
        pool.close();
        assert_eq!(chosen(b"1.2.3"), None);
        assert!(
            pool.devices()
                .iter()
                .all(|remote| remote.facts().pid.is_none())
        );
    }

    #[test]
    fn a_pool_that_is_closed_does_not_wait_for_a_start() {
        let wanted = Wanted::These(vec![0]);
        let (pool, _lanes) = Pool::start(&wanted, &testing::launch("hang")).expect("started");
        let start = Instant::now();
        drop(pool);
        assert!(start.elapsed() < testing::LONG / 2);
    }

    #[test]
    fn none_is_none() {
        assert!(Pool::none().choose(b"x").is_none());
    }
}
