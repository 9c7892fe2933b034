//! The devices of a mount: started in the background, and chosen among by what is decoded.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::nodes;
use super::remote::{Lane, Launch, Remote, State};

/// Devices of one machine at most; more than any has.
const DEVICES_MAX: u32 = 64;

/// Which devices are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All that can be used; no word if there is none.
    Auto,
    /// These; a warning if one cannot be used.
    These(Vec<u32>),
}

/// Called once for each device that can be used, when it is ready for the first time, on a thread of
/// the pool: takes its lanes.
pub trait Found: FnMut(&Arc<Remote>, Vec<Lane>) + Send + 'static {}

impl<F: FnMut(&Arc<Remote>, Vec<Lane>) + Send + 'static> Found for F {}

/// The devices of a mount. Dropped, it ends their processes.
pub struct Pool {
    devices: Arc<Mutex<Devices>>,
}

#[derive(Default)]
struct Devices {
    all: Vec<Arc<Remote>>,
    is_closed: bool,
}

fn lock(devices: &Mutex<Devices>) -> MutexGuard<'_, Devices> {
    // Every change is one that cannot panic.
    devices.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// Begins to start the devices, and returns at once.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub fn start(wanted: Wanted, launch: Launch, found: impl Found) -> io::Result<Pool> {
        let devices = Arc::new(Mutex::new(Devices::default()));
        let pool = Pool {
            devices: Arc::clone(&devices),
        };
        let start = move || match wanted {
            Wanted::Auto if !nodes::may_have_device() => {
                tracing::debug!("no device is looked for: this machine has none");
            }
            Wanted::Auto => start_all(&devices, &launch, found),
            Wanted::These(ordinals) => start_these(&devices, &launch, &ordinals, found),
        };
        thread::Builder::new().name("gpus".into()).spawn(start)?;
        Ok(pool)
    }

    /// A pool without devices.
    pub fn none() -> Pool {
        Pool {
            devices: Arc::default(),
        }
    }

    /// The devices as far as they were started, by number.
    pub fn devices(&self) -> Vec<Arc<Remote>> {
        lock(&self.devices).all.clone()
    }

    /// The device for what `key` names, a series for example: the same each time, as long as it is
    /// ready, so that what a device remembers of it is of use. Another one in its place when it is
    /// not; then all others keep theirs. `None` if no device is ready.
    pub fn choose(&self, key: &[u8]) -> Option<Arc<Remote>> {
        let ready = self
            .devices()
            .into_iter()
            .filter(|remote| remote.is_ready());
        ready.max_by_key(|remote| weight(key, remote.ordinal()))
    }

    /// Ends the devices' processes and waits for their end.
    pub fn close(&self) {
        let all = {
            let mut devices = lock(&self.devices);
            devices.is_closed = true;
            devices.all.clone()
        };
        // First all are told, then each is waited for.
        for remote in &all {
            remote.retire("closed");
        }
        for remote in &all {
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
    let bytes = key.iter().copied().chain(ordinal.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

/// A device that is being started; `None` if the pool is closed or the system refuses.
fn begin(
    devices: &Mutex<Devices>,
    launch: &Launch,
    ordinal: u32,
) -> Option<(Arc<Remote>, Vec<Lane>)> {
    let (remote, lanes) = Remote::start(ordinal, launch.clone())
        .inspect_err(|error| tracing::warn!("gpu {ordinal}: cannot be started: {error}"))
        .ok()?;
    let remote = Arc::new(remote);
    let mut devices = lock(devices);
    if devices.is_closed {
        return None;
    }
    devices.all.push(Arc::clone(&remote));
    Some((remote, lanes))
}

/// All devices there are: one after the other, until there is no such number.
fn start_all(devices: &Mutex<Devices>, launch: &Launch, mut found: impl Found) {
    for ordinal in 0..DEVICES_MAX {
        let Some((remote, lanes)) = begin(devices, launch, ordinal) else {
            return;
        };
        match remote.wait_settled(None) {
            State::Absent(why) => {
                tracing::debug!("device=auto: gpu {ordinal}: {why}");
                if ordinal > 0 {
                    // The end of the list is no device.
                    lock(devices)
                        .all
                        .retain(|other| !Arc::ptr_eq(other, &remote));
                }
                return;
            }
            State::Ready => found(&remote, lanes),
            // The keeper has warned of what failed.
            _ => {}
        }
    }
}

/// The devices that were asked for by number, at the same time. What cannot be used is one warning.
fn start_these(devices: &Mutex<Devices>, launch: &Launch, ordinals: &[u32], mut found: impl Found) {
    let begun: Vec<_> = ordinals
        .iter()
        .map_while(|n| begin(devices, launch, *n))
        .collect();
    let mut absent = Vec::new();
    for (remote, lanes) in begun {
        match remote.wait_settled(None) {
            State::Ready => found(&remote, lanes),
            State::Absent(why) => absent.push((remote.ordinal(), why)),
            _ => {}
        }
    }
    let Some((_, why)) = absent.first() else {
        return;
    };
    let numbers: Vec<String> = absent.iter().map(|(n, _)| n.to_string()).collect();
    let rest = match absent.len() == ordinals.len() {
        true => "everything is decoded on the CPU",
        false => "the others are used",
    };
    tracing::warn!("device=cuda:{}: {why}; {rest}", numbers.join("+"));
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn none_is_none() {
        assert!(Pool::none().choose(b"x").is_none());
    }
}
