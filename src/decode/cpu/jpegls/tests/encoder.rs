//! A JPEG-LS encoder for tests, written down literally from T.87 Annex A: no tables, no shortcuts,
//! nothing shared with the decoder but the standard.

/// Order of run-length codes (A.2.1).
const J: [u32; 32] = [
    0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13,
    14, 15,
];

/// An image, pixel-interleaved.
#[derive(Debug, Clone)]
pub struct Image {
    pub width: usize,
    pub height: usize,
    pub components: usize,
    pub samples: Vec<u16>,
}

/// How to encode.
#[derive(Debug, Clone)]
pub struct Options {
    pub precision: u8,
    pub near: i32,
    /// Components and ILV of each scan.
    pub scans: Vec<(Vec<usize>, u8)>,
    /// MAXVAL, T1, T2, T3, RESET; 0 is the default.
    pub preset: Option<[u16; 5]>,
    pub restart_lines: usize,
    /// Code of an APP8 "mrfx" segment, if any; the samples are given transformed.
    pub transform: Option<u8>,
}

impl Options {
    pub fn new(precision: u8, near: i32, components: usize, interleave: u8) -> Self {
        let scans = match interleave {
            0 => (0..components).map(|c| (vec![c], 0)).collect(),
            ilv => vec![((0..components).collect(), ilv)],
        };
        Self {
            precision,
            near,
            scans,
            preset: None,
            restart_lines: 0,
            transform: None,
        }
    }
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    free: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        for bit in (0..count).rev() {
            if self.free == 0 {
                let after_ff = self.bytes.last() == Some(&0xFF);
                self.bytes.push(0);
                self.free = if after_ff { 7 } else { 8 };
            }
            self.free -= 1;
            *self.bytes.last_mut().unwrap() |= ((u64::from(value) >> bit & 1) as u8) << self.free;
        }
    }

    fn flush(&mut self) {
        self.free = 0;
        if self.bytes.last() == Some(&0xFF) {
            self.bytes.push(0);
        }
    }
}

struct Encoder {
    max_value: i32,
    near: i32,
    range: i32,
    qbpp: u32,
    limit: u32,
    reset: i32,
    t: [i32; 3],
    a: [i32; 367],
    b: [i32; 365],
    c: [i32; 365],
    n: [i32; 367],
    nn: [i32; 2],
    bits: Bits,
}

impl Encoder {
    fn new(options: &Options) -> Self {
        let preset = options.preset.unwrap_or_default().map(i32::from);
        let near = options.near;
        let or = |value: i32, default: i32| if value == 0 { default } else { value };
        let max_value = or(preset[0], (1 << options.precision) - 1);
        let clamp = |i: i32, j: i32| if i > max_value || i < j { j } else { i };
        let [t1, t2, t3] = if max_value >= 128 {
            let factor = (max_value.min(4095) + 128) / 256;
            let t1 = clamp(factor + 2 + 3 * near, near + 1);
            let t2 = clamp(factor * (7 - 3) + 3 + 5 * near, t1);
            [t1, t2, clamp(factor * (21 - 4) + 4 + 7 * near, t2)]
        } else {
            let factor = 256 / (max_value + 1);
            let t1 = clamp(2.max(3 / factor + 3 * near), near + 1);
            let t2 = clamp(3.max(7 / factor + 5 * near), t1);
            [t1, t2, clamp(4.max(21 / factor + 7 * near), t2)]
        };
        let range = (max_value + 2 * near) / (2 * near + 1) + 1;
        let log = |value: i32| {
            (0..)
                .find(|&bits| 1i64 << bits >= i64::from(value))
                .unwrap()
        };
        let bpp: u32 = log(max_value + 1).max(2);
        let mut encoder = Self {
            max_value,
            near,
            range,
            qbpp: log(range),
            limit: 2 * (bpp + bpp.max(8)),
            reset: or(preset[4], 64),
            t: [or(preset[1], t1), or(preset[2], t2), or(preset[3], t3)],
            a: [0; 367],
            b: [0; 365],
            c: [0; 365],
            n: [0; 367],
            nn: [0; 2],
            bits: Bits::default(),
        };
        encoder.restart();
        encoder
    }

    fn restart(&mut self) {
        self.a = [2.max((self.range + 32) / 64); 367];
        self.b = [0; 365];
        self.c = [0; 365];
        self.n = [1; 367];
        self.nn = [0; 2];
    }

    fn quantise(&self, d: i32) -> i32 {
        let [t1, t2, t3] = self.t;
        let level = match d.abs() {
            m if m <= self.near => 0,
            m if m < t1 => 1,
            m if m < t2 => 2,
            m if m < t3 => 3,
            _ => 4,
        };
        level * d.signum()
    }

    /// A.4.4 and A.4.5: the quantised error and the value it leaves.
    fn error(&self, x: i32, px: i32, sign: i32) -> (i32, i32) {
        let step = 2 * self.near + 1;
        let mut error = (x - px) * sign;
        error = if error > 0 {
            (error + self.near) / step
        } else {
            -(self.near - error) / step
        };
        let rx = (px + sign * error * step).clamp(0, self.max_value);
        if error < 0 {
            error += self.range;
        }
        if error >= (self.range + 1) / 2 {
            error -= self.range;
        }
        (error, rx)
    }

    fn golomb(&mut self, value: u32, k: u32, limit: u32) {
        let escape = limit - self.qbpp - 1;
        if value >> k < escape {
            self.bits.put(0, value >> k);
            self.bits.put(1, 1);
            self.bits.put(value & ((1 << k) - 1), k);
        } else {
            self.bits.put(0, escape);
            self.bits.put(1, 1);
            self.bits.put(value - 1, self.qbpp);
        }
    }

    fn regular(&mut self, x: i32, q: [i32; 3], ra: i32, rb: i32, rc: i32) -> i32 {
        let mut index = 81 * q[0] + 9 * q[1] + q[2];
        let sign = if index < 0 { -1 } else { 1 };
        index *= sign;
        let q = index as usize;
        let mut px = if rc >= ra.max(rb) {
            ra.min(rb)
        } else if rc <= ra.min(rb) {
            ra.max(rb)
        } else {
            ra + rb - rc
        };
        px = (px + sign * self.c[q]).clamp(0, self.max_value);
        let (error, rx) = self.error(x, px, sign);
        let mut k = 0;
        while self.n[q] << k < self.a[q] {
            k += 1;
        }
        let mapped = if self.near == 0 && k == 0 && 2 * self.b[q] <= -self.n[q] {
            if error >= 0 {
                2 * error + 1
            } else {
                -2 * (error + 1)
            }
        } else if error >= 0 {
            2 * error
        } else {
            -2 * error - 1
        };
        self.golomb(mapped as u32, k, self.limit);
        self.b[q] += error * (2 * self.near + 1);
        self.a[q] += error.abs();
        if self.n[q] == self.reset {
            self.a[q] >>= 1;
            self.b[q] = if self.b[q] >= 0 {
                self.b[q] >> 1
            } else {
                -((1 - self.b[q]) >> 1)
            };
            self.n[q] >>= 1;
        }
        self.n[q] += 1;
        if self.b[q] <= -self.n[q] {
            self.b[q] += self.n[q];
            self.c[q] = (self.c[q] - 1).max(-128);
            self.b[q] = self.b[q].max(1 - self.n[q]);
        } else if self.b[q] > 0 {
            self.b[q] -= self.n[q];
            self.c[q] = (self.c[q] + 1).min(127);
            self.b[q] = self.b[q].min(0);
        }
        rx
    }

    fn interruption(&mut self, x: i32, ra: i32, rb: i32, kind: usize, order: u32) -> i32 {
        let q = 365 + kind;
        let (px, sign) = match kind {
            1 => (ra, 1),
            _ => (rb, if ra > rb { -1 } else { 1 }),
        };
        let (error, rx) = self.error(x, px, sign);
        let mut temp = self.a[q];
        if kind == 1 {
            temp += self.n[q] >> 1;
        }
        let mut k = 0;
        while self.n[q] << k < temp {
            k += 1;
        }
        let few = 2 * self.nn[kind] < self.n[q];
        let map = (k == 0 && error > 0 && few) || (error < 0 && (!few || k != 0));
        let mapped = 2 * error.abs() - kind as i32 - i32::from(map);
        self.golomb(mapped as u32, k, self.limit - order - 1);
        if error < 0 {
            self.nn[kind] += 1;
        }
        self.a[q] += (mapped + 1 - kind as i32) >> 1;
        if self.n[q] == self.reset {
            self.a[q] >>= 1;
            self.n[q] >>= 1;
            self.nn[kind] >>= 1;
        }
        self.n[q] += 1;
        rx
    }
}

/// The image as the decoder will see it, and where its current restart interval starts.
struct Seen {
    width: usize,
    components: usize,
    samples: Vec<i32>,
    top: usize,
}

impl Seen {
    fn at(&self, y: usize, x: usize, c: usize) -> i32 {
        self.samples[(y * self.width + x) * self.components + c]
    }

    /// Ra, Rb, Rc, Rd (A.2.2).
    fn neighbours(&self, y: usize, x: usize, c: usize) -> [i32; 4] {
        let has_above = y > self.top;
        let above = |x: usize| if has_above { self.at(y - 1, x, c) } else { 0 };
        let rb = above(x);
        let rd = above((x + 1).min(self.width - 1));
        if x > 0 {
            [self.at(y, x - 1, c), rb, above(x - 1), rd]
        } else {
            let rc = if y > self.top + 1 {
                self.at(y - 2, 0, c)
            } else {
                0
            };
            [rb, rb, rc, rd]
        }
    }
}

/// One line of `components` that share each pixel's mode.
fn line(e: &mut Encoder, image: &Image, seen: &mut Seen, y: usize, cs: &[usize], run: &mut usize) {
    let source =
        |x: usize, c: usize| i32::from(image.samples[(y * image.width + x) * image.components + c]);
    let put = |seen: &mut Seen, x: usize, c: usize, value: i32| {
        let at = (y * seen.width + x) * seen.components + c;
        seen.samples[at] = value;
    };
    let mut x = 0;
    while x < image.width {
        let gradients: Vec<[i32; 3]> = cs
            .iter()
            .map(|&c| {
                let [ra, rb, rc, rd] = seen.neighbours(y, x, c);
                [rd - rb, rb - rc, rc - ra].map(|d| e.quantise(d))
            })
            .collect();
        if gradients.iter().any(|q| *q != [0; 3]) {
            for (&c, &q) in cs.iter().zip(&gradients) {
                let [ra, rb, rc, _] = seen.neighbours(y, x, c);
                let value = e.regular(source(x, c), q, ra, rb, rc);
                put(seen, x, c, value);
            }
            x += 1;
            continue;
        }
        let left: Vec<i32> = cs.iter().map(|&c| seen.neighbours(y, x, c)[0]).collect();
        let mut count = 0;
        while x < image.width
            && cs
                .iter()
                .zip(&left)
                .all(|(&c, ra)| (source(x, c) - ra).abs() <= e.near)
        {
            for (&c, &ra) in cs.iter().zip(&left) {
                put(seen, x, c, ra);
            }
            (x, count) = (x + 1, count + 1);
        }
        while count >= 1usize << J[*run] {
            e.bits.put(1, 1);
            count -= 1 << J[*run];
            *run = (*run + 1).min(31);
        }
        if x == image.width {
            if count > 0 {
                e.bits.put(1, 1);
            }
            break;
        }
        e.bits.put(0, 1);
        e.bits.put(count as u32, J[*run]);
        for &c in cs {
            let [ra, rb, ..] = seen.neighbours(y, x, c);
            let kind = usize::from(cs.len() == 1 && (ra - rb).abs() <= e.near);
            let value = e.interruption(source(x, c), ra, rb, kind, J[*run]);
            put(seen, x, c, value);
        }
        *run = run.saturating_sub(1);
        x += 1;
    }
}

fn segment(stream: &mut Vec<u8>, marker: u8, body: &[u8]) {
    stream.extend([0xFF, marker]);
    stream.extend((body.len() as u16 + 2).to_be_bytes());
    stream.extend(body);
}

/// The stream, and the image that it decodes to.
pub fn encode(image: &Image, options: &Options) -> (Vec<u8>, Vec<u16>) {
    let mut stream = vec![0xFF, 0xD8];
    if let Some(code) = options.transform {
        segment(&mut stream, 0xE8, &[b'm', b'r', b'f', b'x', code]);
    }
    let [h, w] = [image.height, image.width].map(|side| (side as u16).to_be_bytes());
    let count = image.components as u8;
    let mut body = vec![options.precision, h[0], h[1], w[0], w[1], count];
    body.extend((1..=count).flat_map(|id| [id, 0x11, 0]));
    segment(&mut stream, 0xF7, &body);
    if let Some(preset) = options.preset {
        let mut body = vec![1];
        body.extend(preset.iter().flat_map(|value| value.to_be_bytes()));
        segment(&mut stream, 0xF8, &body);
    }
    if options.restart_lines > 0 {
        let lines = options.restart_lines as u16;
        segment(&mut stream, 0xDD, &lines.to_be_bytes());
    }
    let mut seen = Seen {
        width: image.width,
        components: image.components,
        samples: vec![0; image.samples.len()],
        top: 0,
    };
    for (components, interleave) in &options.scans {
        let mut body = vec![components.len() as u8];
        body.extend(components.iter().flat_map(|&c| [c as u8 + 1, 0]));
        body.extend([options.near as u8, *interleave, 0]);
        segment(&mut stream, 0xDA, &body);
        let mut encoder = Encoder::new(options);
        let mut runs = [0; 4];
        for y in 0..image.height {
            if y == 0 || (options.restart_lines > 0 && y % options.restart_lines == 0) {
                if y > 0 {
                    encoder.bits.flush();
                    stream.append(&mut encoder.bits.bytes);
                    let index = (y / options.restart_lines - 1) % 8;
                    stream.extend([0xFF, 0xD0 + index as u8]);
                    encoder.restart();
                    runs = [0; 4];
                }
                seen.top = y;
            }
            if *interleave == 2 {
                line(&mut encoder, image, &mut seen, y, components, &mut runs[0]);
            } else {
                for (c, run) in components.iter().zip(&mut runs) {
                    line(&mut encoder, image, &mut seen, y, &[*c], run);
                }
            }
        }
        encoder.bits.flush();
        stream.append(&mut encoder.bits.bytes);
    }
    stream.extend([0xFF, 0xD9]);
    let decoded = seen.samples.iter().map(|&value| value as u16).collect();
    (stream, decoded)
}
