//! What needs no device: how a batch is cut and what of it is pinned.

use super::*;
use crate::decode::gpu::job::{Codec, Show};
use crate::dicom::{ImagePixel, Photometric, PixelElement};

pub(super) fn job(codec: Codec, encoded: Range<u64>, out: Range<u64>) -> Job {
    Job {
        codec,
        image: ImagePixel {
            rows: 1,
            columns: ((out.end - out.start) / 2) as u32,
            number_of_frames: 1,
            samples_per_pixel: 1,
            photometric: Photometric::Monochrome2,
            planar_configuration: 0,
            bits_allocated: 16,
            bits_stored: 16,
            high_bit: 15,
            signed: false,
            element: PixelElement::PixelData,
        },
        show: Show::Stored,
        encoded,
        out,
    }
}

fn checked(frames: &[(Range<u64>, Range<u64>)]) -> Vec<Checked> {
    let native = Codec::Native { big_endian: false };
    let encoded = vec![0; 100_000];
    frames
        .iter()
        .enumerate()
        .map(|(index, (from, to))| {
            let job = job(native, from.clone(), to.clone());
            frame::check(index, &job, &encoded, 100_000).unwrap()
        })
        .collect()
}

/// The process that has the device moves it between threads.
#[test]
fn an_engine_may_be_sent() {
    fn is_send<T: Send>() {}
    is_send::<Engine>();
}

#[test]
fn values_for_the_same_bytes_fail() {
    let mut queue = checked(&[
        (0..20, 100..120),
        (0..20, 60..80),
        (0..20, 70..90),
        (0..20, 80..100),
    ]);
    let mut outcomes = vec![None; 4];
    in_order(&mut queue, &mut outcomes);
    let order: Vec<usize> = queue.iter().map(|checked| checked.index).collect();
    assert_eq!(order, [1, 3, 0]);
    assert!(matches!(outcomes[2], Some(Outcome::Failed(_))));
}

#[test]
fn a_chunk_has_a_frame_at_least_and_no_more_than_fits() {
    let frames: Vec<_> = (0..10)
        .map(|n| (n * 1000..n * 1000 + 1000, n * 1000..n * 1000 + 1000))
        .collect();
    let queue = checked(&frames);
    let one = queue[0].device_bytes();
    for (limit, expected) in [(0, 1), (one, 1), (3 * one, 3), (usize::MAX, 10)] {
        let mut queue: VecDeque<Checked> = queue.clone().into();
        assert_eq!(take(&mut queue, limit).len(), expected);
        assert_eq!(queue.len(), 10 - expected);
    }
    assert!(take(&mut VecDeque::new(), 10).is_empty());
}

#[test]
fn only_what_is_large_and_mostly_used_is_pinned() {
    let mib = 1 << 20;
    assert_eq!(hull([].iter()), None);
    assert_eq!(hull(std::iter::once(&(0..1000))), None);
    let all = 5..mib + 5;
    assert_eq!(hull(std::iter::once(&all)), Some(all.clone()));
    let halves = [2 * mib..3 * mib, 0..mib];
    assert_eq!(hull(halves.iter()), Some(0..3 * mib));
    let spread = [0..mib, 9 * mib..10 * mib];
    assert_eq!(hull(spread.iter()), None);
}

#[test]
fn neighbours_go_in_one_copy_and_gaps_of_the_slab_in_none() {
    use super::layout::Layout;
    let chunk = checked(&[
        (0..100, 200..300),
        (104..204, 300..400),
        (4000..4100, 402..502),
        (4101..4201, 502..602),
    ]);
    let layout = Layout::new(&chunk);
    let hosts = |runs: &[super::layout::Run]| -> Vec<Range<usize>> {
        runs.iter().map(|run| run.host.clone()).collect()
    };
    // The last begins at an odd byte of a run: a sample of it would not be aligned.
    assert_eq!(hosts(&layout.uploads), [0..204, 4000..4100, 4101..4201]);
    assert_eq!(hosts(&layout.downloads), [200..400, 402..602]);
    for frame in &layout.frames {
        assert_eq!(frame.planes[0] % 8, 0);
        assert_eq!(frame.out % 2, 0);
    }
    assert!(layout.len <= chunk.iter().map(Checked::device_bytes).sum::<usize>() + 1024);
    assert!(layout.tables_len() <= layout.encoded.start);
    assert!(layout.encoded.end <= layout.values.start && layout.values.end <= layout.len);
}
