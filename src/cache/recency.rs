//! Which frames of a slab were used when: a list in order of use, with constant-time moves.
//!
//! Pure bookkeeping over frame numbers.

/// No neighbour, or not in the list.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Link {
    /// The neighbour that was used later.
    newer: u32,
    /// The neighbour that was used before.
    older: u32,
}

/// Some of the frames `0..count` in order of use.
#[derive(Debug)]
pub(super) struct Recency {
    links: Vec<Link>,
    newest: u32,
    oldest: u32,
}

impl Recency {
    /// No frame of `count`, which has to be less than 2^32 - 1, is in the list.
    pub(super) fn new(count: usize) -> Recency {
        let out = Link {
            newer: NONE,
            older: NONE,
        };
        Recency {
            links: vec![out; count],
            newest: NONE,
            oldest: NONE,
        }
    }

    /// Adds a frame that is not in the list as the newest.
    pub(super) fn push(&mut self, frame: usize) {
        let frame = frame as u32;
        self.links[frame as usize] = Link {
            newer: NONE,
            older: self.newest,
        };
        match self.newest {
            NONE => self.oldest = frame,
            newest => self.links[newest as usize].newer = frame,
        }
        self.newest = frame;
    }

    /// Takes a frame out that is in the list.
    pub(super) fn remove(&mut self, frame: usize) {
        let Link { newer, older } = self.links[frame];
        match newer {
            NONE => self.newest = older,
            newer => self.links[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.links[older as usize].newer = newer,
        }
    }

    /// Makes a frame that is in the list the newest.
    pub(super) fn touch(&mut self, frame: usize) {
        if self.newest != frame as u32 {
            self.remove(frame);
            self.push(frame);
        }
    }

    /// The frames from the oldest to the newest.
    pub(super) fn oldest_first(&self) -> impl Iterator<Item = usize> {
        let mut at = self.oldest;
        std::iter::from_fn(move || {
            let frame = (at != NONE).then_some(at as usize)?;
            at = self.links[frame].newer;
            Some(frame)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(list: &Recency) -> Vec<usize> {
        list.oldest_first().collect()
    }

    #[test]
    fn order_follows_use() {
        let mut list = Recency::new(5);
        assert!(order(&list).is_empty());
        for frame in [3, 0, 4] {
            list.push(frame);
        }
        assert_eq!(order(&list), [3, 0, 4]);
        list.touch(4);
        list.touch(3);
        assert_eq!(order(&list), [0, 4, 3]);
        list.remove(4);
        assert_eq!(order(&list), [0, 3]);
        list.remove(0);
        list.remove(3);
        assert!(order(&list).is_empty());
        list.push(1);
        list.touch(1);
        assert_eq!(order(&list), [1]);
    }

    #[test]
    fn it_agrees_with_a_plain_list() {
        let (mut list, mut plain) = (Recency::new(16), Vec::new());
        let mut x = 88_172_645_463_325_252_u64;
        for _ in 0..2000 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let frame = (x % 16) as usize;
            let choice = (x >> 8) % 3;
            let known = plain.iter().position(|&f| f == frame);
            match (known, choice) {
                (None, _) => list.push(frame),
                (Some(_), 0) => list.remove(frame),
                (Some(_), _) => list.touch(frame),
            }
            if let Some(at) = known {
                plain.remove(at);
            }
            if known.is_none() || choice > 0 {
                plain.push(frame);
            }
            assert_eq!(order(&list), plain);
        }
    }
}
