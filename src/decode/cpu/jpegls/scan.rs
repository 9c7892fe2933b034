//! The samples of a scan (T.87 Annex A and, for several components, Annex B).
//!
//! Knows contexts and bits, not markers and not the caller's buffer. Lines are decoded into two
//! small buffers with a pixel to spare at either end, so that the neighbours of the first and last
//! sample (A.2.2) need no test.

use super::Error;
use super::bits::{Reader, Segments};
use super::codes::{long_code, run_length};
use super::context::{Contexts, Params, Quantiser, RunContext};
use super::header::{Frame, Interleave, Scan};
use super::store::{Sample, Target};

/// Decodes a scan into `target`; returns where the marker behind it is.
pub(super) fn decode(
    frame: &Frame,
    scan: &Scan,
    params: &Params,
    restart_lines: u32,
    segments: Segments<'_>,
    target: &mut Target<'_>,
) -> Result<usize, Error> {
    let job = Job {
        frame,
        scan,
        params,
        restart_lines,
    };
    // The table of the quantiser should be no longer than it must: it lives in the first cache.
    match frame.precision {
        ..=8 => job.by_kind::<u8, 0x200>(segments, target),
        9..=12 => job.by_kind::<u16, 0x2000>(segments, target),
        _ => job.by_kind::<u16, 0x2_0000>(segments, target),
    }
}

struct Job<'a> {
    frame: &'a Frame,
    scan: &'a Scan,
    params: &'a Params,
    restart_lines: u32,
}

impl Job<'_> {
    fn by_kind<S: Sample, const LEN: usize>(
        &self,
        segments: Segments<'_>,
        target: &mut Target<'_>,
    ) -> Result<usize, Error> {
        if self.params.is_exact() {
            self.by_order::<S, LEN, true>(segments, target)
        } else {
            self.by_order::<S, LEN, false>(segments, target)
        }
    }

    fn by_order<S: Sample, const LEN: usize, const EXACT: bool>(
        &self,
        segments: Segments<'_>,
        target: &mut Target<'_>,
    ) -> Result<usize, Error> {
        let components = self.scan.components().len();
        match (self.scan.interleave, components) {
            (Interleave::Sample, 2) => self.run::<S, LEN, EXACT>(
                segments,
                target,
                1,
                2,
                Coder::<LEN, EXACT>::pixels::<S, 2>,
            ),
            (Interleave::Sample, 3) => self.run::<S, LEN, EXACT>(
                segments,
                target,
                1,
                3,
                Coder::<LEN, EXACT>::pixels::<S, 3>,
            ),
            (Interleave::Sample, 4) => self.run::<S, LEN, EXACT>(
                segments,
                target,
                1,
                4,
                Coder::<LEN, EXACT>::pixels::<S, 4>,
            ),
            _ => self.run::<S, LEN, EXACT>(
                segments,
                target,
                components,
                1,
                Coder::<LEN, EXACT>::samples::<S>,
            ),
        }
    }

    /// All lines: `planes` buffers of pixels of `depth` samples, `line` decodes one of them.
    fn run<S: Sample, const LEN: usize, const EXACT: bool>(
        &self,
        mut segments: Segments<'_>,
        target: &mut Target<'_>,
        planes: usize,
        depth: usize,
        line: impl Fn(&mut Coder<LEN, EXACT>, &mut Reader<'_>, &mut Plane<S>) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        let height = self.frame.height;
        let interval = match self.restart_lines {
            0 => height,
            lines => lines,
        };
        let mut coder = Coder::<LEN, EXACT>::new(self.params);
        let mut buffers = vec![Plane::<S>::new(self.frame.width as usize, depth); planes];
        let mut first = 0;
        let mut restarts = 0;
        while first < height {
            if first > 0 {
                segments.restart(restarts)?;
                restarts += 1;
                coder.reset();
                buffers.iter_mut().for_each(Plane::reset);
            }
            segments.unstuff();
            let mut reader = segments.reader();
            let next = first.saturating_add(interval).min(height);
            for row in first..next {
                for plane in &mut buffers {
                    plane.start_line();
                    line(&mut coder, &mut reader, plane)?;
                    reader.check()?;
                }
                self.put(target, row as usize, &buffers, depth);
            }
            reader.finish()?;
            first = next;
        }
        Ok(segments.pos())
    }

    fn put<S: Sample>(
        &self,
        target: &mut Target<'_>,
        row: usize,
        planes: &[Plane<S>],
        depth: usize,
    ) {
        let components = self.scan.components();
        if let [plane] = planes
            && target.is_in_order(components)
        {
            return target.put_pixels(row, plane.line());
        }
        for (index, &component) in components.iter().enumerate() {
            // Either each component has its plane or all share one.
            let (plane, offset) = match planes {
                [plane] => (plane, index % depth),
                planes => (&planes[index], 0),
            };
            let samples = plane.line().iter().skip(offset).step_by(depth);
            target.put_component(row, component, samples.copied());
        }
    }
}

/// The line at hand and the one above, of one component or of pixels of several samples.
#[derive(Clone)]
struct Plane<S> {
    width: usize,
    depth: usize,
    above: Vec<S>,
    current: Vec<S>,
    run_index: usize,
}

impl<S: Sample> Plane<S> {
    fn new(width: usize, depth: usize) -> Self {
        let line = vec![S::default(); (width + 2) * depth];
        Self {
            width,
            depth,
            above: line.clone(),
            current: line,
            run_index: 0,
        }
    }

    fn reset(&mut self) {
        self.above.fill(S::default());
        self.current.fill(S::default());
        self.run_index = 0;
    }

    /// Makes the current line the one above and sets the pixels beyond either end (A.2.2).
    fn start_line(&mut self) {
        std::mem::swap(&mut self.above, &mut self.current);
        let (depth, end) = (self.depth, self.width * self.depth);
        self.above.copy_within(end..end + depth, end + depth);
        for (left, above) in self.current.iter_mut().zip(&self.above[depth..2 * depth]) {
            *left = *above;
        }
    }

    /// The samples of the current line.
    fn line(&self) -> &[S] {
        &self.current[self.depth..][..self.width * self.depth]
    }
}

/// The adaptive state of a scan.
struct Coder<const LEN: usize, const EXACT: bool> {
    params: Params,
    quantiser: Quantiser<LEN>,
    contexts: Box<Contexts>,
    runs: [RunContext; 2],
    /// Unary parts shorter than this need no further thought: they are no escape and leave the
    /// rest of the code among the 57 bits at hand.
    short: u32,
}

/// The prediction from left, above and above left (A.4.1): their median with the plane through
/// them.
#[inline(always)]
fn predict(left: i32, above: i32, corner: i32) -> i32 {
    let (low, high) = (left.min(above), left.max(above));
    (left + above - corner).max(low).min(high)
}

impl<const LEN: usize, const EXACT: bool> Coder<LEN, EXACT> {
    fn new(params: &Params) -> Self {
        Self {
            params: *params,
            quantiser: Quantiser::new(params),
            contexts: Contexts::new(params),
            runs: [RunContext::new(params, 0), RunContext::new(params, 1)],
            short: (params.limit - params.qbpp - 1).min(40),
        }
    }

    fn reset(&mut self) {
        self.contexts.reset(&self.params);
        self.runs = [0, 1].map(|kind| RunContext::new(&self.params, kind));
    }

    /// The sum of the quantised gradients, a context's number with its sign (A.3.4); 0 is flat.
    #[inline(always)]
    fn gradients(&self, left: i32, corner: i32, level_right: i32, level_above: i32) -> i32 {
        81 * level_right + 9 * level_above + self.quantiser.level(corner - left)
    }

    /// The value at the error's distance from the prediction, modulo the range (A.4.5, A.5.3).
    #[inline(always)]
    fn reconstruct(params: &Params, predicted: i32, error: i32) -> i32 {
        if EXACT {
            return predicted.wrapping_add(error) & params.max_value;
        }
        let value = predicted.wrapping_add(error.wrapping_mul(params.step));
        let wrap = params.range * params.step;
        let value = if value < -params.near {
            value.wrapping_add(wrap)
        } else if value > params.max_value + params.near {
            value.wrapping_sub(wrap)
        } else {
            value
        };
        value.clamp(0, params.max_value)
    }

    /// A sample in regular mode (A.4 to A.6).
    #[inline(always)]
    fn regular(
        &mut self,
        params: &Params,
        bits: &mut Reader<'_>,
        gradients: i32,
        prediction: i32,
    ) -> Result<i32, Error> {
        let sign = gradients >> 31;
        let next = self.contexts.next(gradients);
        let predicted = (prediction + next.correction())
            .max(0)
            .min(params.max_value);
        let window = bits.peek();
        // The last bit is no part of a short code; set, it spares the processor the case of no
        // bits at all.
        let zeros = (window | 1).leading_zeros();
        let k = next.k();
        let mapped = if zeros < self.short {
            bits.skip(zeros + 1 + k);
            // The one that ends the unary part comes along: it stands for 2^k too much.
            let low = ((window << zeros) >> next.shift()) as u32;
            low.wrapping_add(zeros.wrapping_sub(1).wrapping_shl(k))
        } else {
            long_code(bits, k, params.limit, params.qbpp)?
        };
        let signed = next.unmap(mapped);
        let error = signed ^ sign;
        self.contexts.update::<EXACT>(gradients, error, params);
        if EXACT {
            return Ok((predicted - sign).wrapping_add(signed) & params.max_value);
        }
        let error = signed.wrapping_sub(sign);
        Ok(Self::reconstruct(params, predicted, error))
    }

    /// A line of one component.
    fn samples<S: Sample>(
        &mut self,
        reader: &mut Reader<'_>,
        plane: &mut Plane<S>,
    ) -> Result<(), Error> {
        let width = plane.width;
        let above_line = &plane.above[..width + 2];
        let current = &mut plane.current[..width + 2];
        let params = self.params;
        let mut bits = *reader;
        let mut x = 1;
        let mut left: i32 = current[0].into();
        let mut corner: i32 = above_line[0].into();
        let mut above: i32 = above_line[1].into();
        // What lies to the right above now lies above next: its gradient is kept.
        let mut level_above = self.quantiser.level(above - corner);
        while x <= width {
            let right: i32 = above_line[x + 1].into();
            let level_right = self.quantiser.level(right - above);
            let gradients = self.gradients(left, corner, level_right, level_above);
            if gradients != 0 {
                let prediction = predict(left, above, corner);
                left = self.regular(&params, &mut bits, gradients, prediction)?;
                current[x] = S::truncate(left);
                (corner, above, level_above) = (above, right, level_right);
                x += 1;
                continue;
            }
            let run = run_length(&mut bits, width + 1 - x, &mut plane.run_index)?;
            current[x..x + run.len].fill(S::truncate(left));
            x += run.len;
            if x > width {
                break;
            }
            above = above_line[x].into();
            let alike = (left - above).abs() <= params.near;
            left = self.interruption(&mut bits, left, above, alike, run.order)?;
            current[x] = S::truncate(left);
            (corner, above) = (above, above_line[x + 1].into());
            level_above = self.quantiser.level(above - corner);
            x += 1;
        }
        *reader = bits;
        Ok(())
    }

    /// A line of pixels of `N` samples (sample interleaving, Annex B).
    fn pixels<S: Sample, const N: usize>(
        &mut self,
        reader: &mut Reader<'_>,
        plane: &mut Plane<S>,
    ) -> Result<(), Error> {
        let width = plane.width;
        let above_line = &plane.above.as_chunks::<N>().0[..width + 2];
        let current = &mut plane.current.as_chunks_mut::<N>().0[..width + 2];
        let params = self.params;
        let mut bits = *reader;
        let wide = |pixel: [S; N]| pixel.map(|sample| -> i32 { sample.into() });
        let mut x = 1;
        let mut left = wide(current[0]);
        let mut corner = wide(above_line[0]);
        let mut above = wide(above_line[1]);
        let mut level_above = [0; N];
        for c in 0..N {
            level_above[c] = self.quantiser.level(above[c] - corner[c]);
        }
        while x <= width {
            let right = wide(above_line[x + 1]);
            let mut gradients = [0; N];
            let mut any = 0;
            for c in 0..N {
                let level_right = self.quantiser.level(right[c] - above[c]);
                gradients[c] = self.gradients(left[c], corner[c], level_right, level_above[c]);
                level_above[c] = level_right;
                any |= gradients[c];
            }
            if any != 0 {
                for c in 0..N {
                    let prediction = predict(left[c], above[c], corner[c]);
                    left[c] = self.regular(&params, &mut bits, gradients[c], prediction)?;
                }
                current[x] = left.map(S::truncate);
                (corner, above) = (above, right);
                x += 1;
                continue;
            }
            let run = run_length(&mut bits, width + 1 - x, &mut plane.run_index)?;
            current[x..x + run.len].fill(left.map(S::truncate));
            x += run.len;
            if x > width {
                break;
            }
            above = wide(above_line[x]);
            for c in 0..N {
                // Several components always take the first run context.
                left[c] = self.interruption(&mut bits, left[c], above[c], false, run.order)?;
            }
            current[x] = left.map(S::truncate);
            (corner, above) = (above, wide(above_line[x + 1]));
            for c in 0..N {
                level_above[c] = self.quantiser.level(above[c] - corner[c]);
            }
            x += 1;
        }
        *reader = bits;
        Ok(())
    }

    /// The sample that ends a run (A.7.2).
    #[inline(always)]
    fn interruption(
        &mut self,
        bits: &mut Reader<'_>,
        left: i32,
        above: i32,
        alike: bool,
        order: u32,
    ) -> Result<i32, Error> {
        let params = &self.params;
        let context = &mut self.runs[usize::from(alike)];
        let k = context.k();
        let mapped = long_code(bits, k, params.limit - order - 1, params.qbpp)?;
        let error = context.take(mapped, k, params);
        let error = if !alike && left > above {
            error.wrapping_neg()
        } else {
            error
        };
        Ok(Self::reconstruct(
            params,
            if alike { left } else { above },
            error,
        ))
    }
}
