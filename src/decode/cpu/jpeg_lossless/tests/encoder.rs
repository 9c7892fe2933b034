//! A plain encoder of lossless JPEG, for the tests only: each step as the standard words it, with
//! no regard to speed, and with the choices that the decoder must cope with.

/// What to encode and how.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) components: usize,
    pub(super) precision: u8,
    pub(super) selection: u8,
    pub(super) point_transform: u8,
    /// Lines a restart interval; 0: none.
    pub(super) restart_lines: usize,
    /// The components of each scan.
    pub(super) scans: Vec<Vec<usize>>,
    /// Code lengths of the tables; component k uses table k modulo their number.
    pub(super) tables: Vec<Codes>,
    /// Put the number of lines into a DNL segment.
    pub(super) dnl: bool,
    /// Tables before the frame header.
    pub(super) tables_first: bool,
    /// APPn, COM and DQT segments and fill bytes between the others.
    pub(super) clutter: bool,
}

/// How long the Huffman codes of the 17 categories are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codes {
    /// All 5 bits.
    Flat,
    /// 1, 2, 3, ... 15, 16, 16 bits, the small categories first.
    Skewed,
    /// The same, the large categories first.
    SkewedBack,
    /// All 16 bits.
    Long,
}

impl Codes {
    fn definition(self) -> ([u8; 16], Vec<u8>) {
        let mut counts = [0; 16];
        match self {
            Self::Flat => counts[4] = 17,
            Self::Long => counts[15] = 17,
            Self::Skewed | Self::SkewedBack => {
                counts = [1; 16];
                counts[15] = 2;
            }
        }
        let mut values: Vec<u8> = (0..17).collect();
        if self == Self::SkewedBack {
            values.reverse();
        }
        (counts, values)
    }

    /// Code and length by category (T.81 Annex C).
    fn codes(self) -> [(u32, u32); 17] {
        let (counts, values) = self.definition();
        let mut codes = [(0, 0); 17];
        let (mut code, mut next) = (0, values.into_iter());
        for (n, count) in counts.into_iter().enumerate() {
            for value in next.by_ref().take(usize::from(count)) {
                codes[usize::from(value)] = (code, n as u32 + 1);
                code += 1;
            }
            code <<= 1;
        }
        codes
    }
}

impl Job {
    /// One interleaved scan, predictor 1, nothing special.
    pub(super) fn new(width: usize, height: usize, components: usize, precision: u8) -> Self {
        Self {
            width,
            height,
            components,
            precision,
            selection: 1,
            point_transform: 0,
            restart_lines: 0,
            scans: vec![(0..components).collect()],
            tables: vec![Codes::Skewed],
            dnl: false,
            tables_first: true,
            clutter: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.width * self.height * self.components
    }

    /// Encodes interleaved samples.
    pub(super) fn encode(&self, samples: &[u16]) -> Vec<u8> {
        assert_eq!(samples.len(), self.len());
        let mut out = vec![0xFF, 0xD8];
        self.clutter(&mut out);
        if self.tables_first {
            self.write_tables(&mut out);
        }
        let height = if self.dnl { 0 } else { self.height };
        let [y1, y0] = (height as u16).to_be_bytes();
        let [x1, x0] = (self.width as u16).to_be_bytes();
        let mut body = vec![self.precision, y1, y0, x1, x0, self.components as u8];
        for component in 0..self.components {
            body.extend([component as u8 + 1, 0x11, 0]);
        }
        segment(&mut out, 0xC3, &body);
        self.clutter(&mut out);
        if !self.tables_first {
            self.write_tables(&mut out);
        }
        for (number, scan) in self.scans.iter().enumerate() {
            let mut body = vec![scan.len() as u8];
            for &component in scan {
                body.extend([
                    component as u8 + 1,
                    ((component % self.tables.len()) as u8) << 4,
                ]);
            }
            body.extend([self.selection, 0, self.point_transform]);
            segment(&mut out, 0xDA, &body);
            self.write_scan(scan, samples, &mut out);
            if number == 0 && self.dnl {
                segment(&mut out, 0xDC, &(self.height as u16).to_be_bytes());
            }
            self.clutter(&mut out);
        }
        out.extend([0xFF, 0xD9]);
        out
    }

    fn clutter(&self, out: &mut Vec<u8>) {
        if self.clutter {
            out.extend([0xFF, 0xFF]);
            segment(out, 0xE0, b"JFIF\0\x01\x02\0\0\x01\0\x01\0\0");
            segment(out, 0xFE, &[0xFF, 0xD9, 0xFF, 0xC3]);
            segment(out, 0xDB, &[0; 65]);
            out.push(0xFF);
        }
    }

    fn write_tables(&self, out: &mut Vec<u8>) {
        // A table of class 1, with a category that no lossless scan could have.
        let mut body = vec![0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xF0];
        for (number, codes) in self.tables.iter().enumerate() {
            let (counts, values) = codes.definition();
            body.push(number as u8);
            body.extend(counts);
            body.extend(values);
        }
        segment(out, 0xC4, &body);
        if self.restart_lines > 0 {
            let interval = (self.restart_lines * self.width) as u16;
            segment(out, 0xDD, &interval.to_be_bytes());
        }
    }

    fn write_scan(&self, scan: &[usize], samples: &[u16], out: &mut Vec<u8>) {
        let codes: Vec<_> = self.tables.iter().map(|codes| codes.codes()).collect();
        let at = |x: usize, y: usize, component: usize| {
            let sample = samples[(y * self.width + x) * self.components + component];
            i32::from(sample >> self.point_transform)
        };
        let mut bits = BitWriter::default();
        let mut first_line = 0;
        for y in 0..self.height {
            if self.restart_lines > 0 && y > 0 && y % self.restart_lines == 0 {
                bits.finish(out);
                out.extend([0xFF, 0xD0 + (y / self.restart_lines - 1) as u8 % 8]);
                first_line = y;
            }
            for x in 0..self.width {
                for &component in scan {
                    // T.81 H.1.2.1 and Table H.1.
                    let ra = |()| at(x - 1, y, component);
                    let rb = |()| at(x, y - 1, component);
                    let rc = |()| at(x - 1, y - 1, component);
                    let prediction = match (x, y == first_line, self.selection) {
                        (0, true, _) => 1 << (self.precision - self.point_transform - 1),
                        (0, false, _) => rb(()),
                        (_, true, _) | (_, _, 1) => ra(()),
                        (_, _, 2) => rb(()),
                        (_, _, 3) => rc(()),
                        (_, _, 4) => ra(()) + rb(()) - rc(()),
                        (_, _, 5) => ra(()) + ((rb(()) - rc(())) >> 1),
                        (_, _, 6) => rb(()) + ((ra(()) - rc(())) >> 1),
                        _ => (ra(()) + rb(())) >> 1,
                    };
                    let difference = (at(x, y, component) - prediction) as i16;
                    bits.difference(difference, &codes[component % codes.len()], out);
                }
            }
        }
        bits.finish(out);
    }
}

/// A marker segment.
pub(super) fn segment(out: &mut Vec<u8>, marker: u8, body: &[u8]) {
    out.extend([0xFF, marker]);
    out.extend((body.len() as u16 + 2).to_be_bytes());
    out.extend(body);
}

#[derive(Default)]
struct BitWriter {
    byte: u8,
    count: u32,
}

impl BitWriter {
    fn bit(&mut self, bit: bool, out: &mut Vec<u8>) {
        self.byte = self.byte << 1 | u8::from(bit);
        self.count += 1;
        if self.count == 8 {
            out.push(self.byte);
            if self.byte == 0xFF {
                out.push(0);
            }
            *self = Self::default();
        }
    }

    fn bits(&mut self, value: u32, count: u32, out: &mut Vec<u8>) {
        for i in (0..count).rev() {
            self.bit(value >> i & 1 == 1, out);
        }
    }

    /// T.81 H.1.2.2; -32768 is congruent to 32768, category 16.
    fn difference(&mut self, difference: i16, codes: &[(u32, u32); 17], out: &mut Vec<u8>) {
        let magnitude = difference.unsigned_abs();
        let category = 16 - magnitude.leading_zeros();
        let (code, length) = codes[category as usize];
        self.bits(code, length, out);
        if category < 16 {
            let extra = if difference < 0 {
                !u32::from(magnitude)
            } else {
                u32::from(magnitude)
            };
            self.bits(extra, category, out);
        }
    }

    /// Pads with ones (T.81 F.1.2.3).
    fn finish(&mut self, out: &mut Vec<u8>) {
        while self.count > 0 {
            self.bit(true, out);
        }
    }
}
