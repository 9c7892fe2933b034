// JPEG Lossless (ITU-T T.81 process 14) in parallel inside one picture.
//
// One source for two compilers, as kernels.cu, whose rules hold here too: every access is bounded by
// lengths that the host has checked, any grid gives the same samples, and barriers stand only where
// all threads of a block come by. The structs are those of lossless.rs, field by field.
//
// Where a code starts is known only from all codes before it. But a decoder that starts at a wrong
// bit falls into step with the right one, mostly after a few dozen bits. So the bits of a restart
// interval are cut into PARTs: each is decoded from its first bit, then again and again from where the
// part before it ended, until nothing changes. What has not settled after the host's number of rounds
// is left to the CPU, as is everything that the CPU may refuse: then the CPU has the word.
//
// In this order: lossless_count, lossless_place and lossless_unstuff take the stuffing out;
// lossless_sync, a round each; lossless_link finds which sample each part begins with and whether the
// parts have settled; lossless_emit writes differences; lossless_start, lossless_rows, lossless_down
// and lossless_wave add them up to samples.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// Bits of a part.
#define PART 2048u
// Stuffed bytes that a thread goes through.
#define TILE 256u
// Bits by which a code is looked up.
#define LOOKUP 11u
// Most threads of a block that adds up.
#define ADDERS 128u

// What goes wrong with a frame, in its word of `flags`: ENDS_EARLY and UNSETTLED of kernels.cu.
#define BROKEN 2u
#define UNSETTLED 4u

// In place of a category: there is no such code.
#define NO_CODE 17u

struct Codes {
    u16 fast[2048];  // by the next LOOKUP bits: length, category * 256; 0: the code is longer or none
    u32 limits[16];  // for codes of n + 1 bits: one past the last, left-aligned to 16 bits
    int offsets[16]; // for codes of n + 1 bits: what to add for the index in `values`
    u8 values[256];  // categories
};

struct Interval {
    u64 packed;      // address of the entropy-coded bytes
    u64 bits;        // address of 32-bit words, the first bit on top; room for packed_len + 8 bytes
    u64 marks;       // address of tiles + 1 words: where the bytes of a tile go; the last: their number
    u64 parts;       // address of 4 * part_count words: starts, ends, ends before, counts
    u64 samples;     // address of 16-bit samples, interleaved: this interval's
    u64 codes[3];    // addresses of Codes, by component
    u32 packed_len;  // bytes, at most 2^26
    u32 tiles;       // packed_len in whole TILEs, rounded up
    u32 part_count;  // packed_len in whole PARTs, rounded up
    u32 frame;       // whose flags
    u32 columns;     // pixels a line
    u32 lines;       // lines of this interval
    u32 components;  // samples a pixel: 1 to 3
    u32 phases;      // components with tables of their own: `components`, or 1 where all share one
    u32 selection;   // predictor, 1 to 7
    u32 first;       // prediction of the first sample
};

static __device__ u32 lesser(u32 a, u32 b)
{
    return a < b ? a : b;
}

static __device__ u32 sample_count(const Interval &interval)
{
    return interval.columns * interval.lines * interval.components;
}

// Bits without stuffing, and the parts they make.
static __device__ u32 bit_count(const Interval &interval)
{
    return ((const u32 *)interval.marks)[interval.tiles] * 8;
}

static __device__ u32 live_parts(const Interval &interval)
{
    return lesser((bit_count(interval) + PART - 1) / PART, interval.part_count);
}

static __device__ bool is_lost(const u32 *flags, const Interval &interval)
{
    return (flags[interval.frame] & (BROKEN | UNSETTLED)) != 0;
}

// The sum of `value` over all threads before this one; `total`: over all of them. All threads of the
// block must come by.
static __device__ u32 sum_before(u32 *shared, u32 value, u32 *total)
{
    shared[threadIdx.x] = value;
    __syncthreads();
    u32 before = 0, all = 0;
    for (u32 i = 0; i < blockDim.x; i++) {
        before += i < threadIdx.x ? shared[i] : 0;
        all += shared[i];
    }
    __syncthreads();
    *total = all;
    return before;
}

// ---- stuffing (T.81 F.1.2.3) ----

// A byte of data: not the 0 of FF 00, nor the FF of a fill byte or of a marker to come.
static __device__ bool is_data(const u8 *packed, u32 at, u32 len)
{
    u8 byte = packed[at];
    if (byte == 0xFF)
        return at + 1 < len && packed[at + 1] == 0;
    return byte != 0 || at == 0 || packed[at - 1] != 0xFF;
}

extern "C" __global__ void lossless_count(const Interval *intervals, u32 count)
{
    u32 step = gridDim.x * blockDim.x;
    for (u32 s = blockIdx.y; s < count; s += gridDim.y) {
        const Interval interval = intervals[s];
        const u8 *packed = (const u8 *)interval.packed;
        for (u32 t = blockIdx.x * blockDim.x + threadIdx.x; t < interval.tiles; t += step) {
            u32 end = lesser((t + 1) * TILE, interval.packed_len), kept = 0;
            for (u32 at = t * TILE; at < end; at++)
                kept += is_data(packed, at, interval.packed_len);
            ((u32 *)interval.marks)[t] = kept;
        }
    }
}

extern "C" __global__ void lossless_place(const Interval *intervals, u32 count)
{
    __shared__ u32 shared[ADDERS];
    for (u32 s = blockIdx.x; s < count; s += gridDim.x) {
        const Interval interval = intervals[s];
        u32 *marks = (u32 *)interval.marks;
        u32 share = (interval.tiles + blockDim.x - 1) / blockDim.x, total;
        u32 from = lesser(threadIdx.x * share, interval.tiles);
        u32 to = lesser(from + share, interval.tiles), sum = 0;
        for (u32 t = from; t < to; t++)
            sum += marks[t];
        u32 at = sum_before(shared, sum, &total);
        for (u32 t = from; t < to; t++) {
            u32 kept = marks[t];
            marks[t] = at;
            at += kept;
        }
        if (threadIdx.x == 0)
            marks[interval.tiles] = total;
    }
}

extern "C" __global__ void lossless_unstuff(const Interval *intervals, u32 count)
{
    u32 step = gridDim.x * blockDim.x;
    for (u32 s = blockIdx.y; s < count; s += gridDim.y) {
        const Interval interval = intervals[s];
        const u8 *packed = (const u8 *)interval.packed;
        u8 *bits = (u8 *)interval.bits;
        for (u32 t = blockIdx.x * blockDim.x + threadIdx.x; t < interval.tiles; t += step) {
            u32 end = lesser((t + 1) * TILE, interval.packed_len);
            u32 to = ((const u32 *)interval.marks)[t];
            // Words are little endian, and their top is to come first.
            for (u32 at = t * TILE; at < end; at++)
                if (is_data(packed, at, interval.packed_len))
                    bits[to++ ^ 3] = packed[at];
        }
    }
}

// ---- codes ----

// The 32 bits from `at` on; those behind the last are anything.
static __device__ u32 window_at(const u32 *words, u32 at)
{
    u64 two = (u64)words[at >> 5] << 32 | words[(at >> 5) + 1];
    return (u32)(two << (at & 31) >> 32);
}

// The code at the top of the window: its length, and its category * 256.
static __device__ u32 code_of(const Codes *codes, u32 window)
{
    u32 found = codes->fast[window >> (32 - LOOKUP)];
    if (found)
        return found;
    u32 next = window >> 16;
    for (u32 n = 0; n < 16; n++)
        if (next < codes->limits[n]) {
            u32 index = (next >> (15 - n)) + (u32)codes->offsets[n];
            return (n + 1) | (u32)codes->values[index & 255] << 8;
        }
    return 1 | NO_CODE << 8;
}

// Bits that follow a code.
static __device__ u32 extra_bits(u32 category)
{
    return category < 16 ? category : 0;
}

// T.81 F.2.2.1 and H.1.2.2, modulo 2^16.
static __device__ u16 difference(u32 category, u32 window, u32 length)
{
    if (category == 0 || category == NO_CODE)
        return 0;
    if (category == 16)
        return 32768;
    u32 value = window << length >> (32 - category);
    return (u16)(value >> (category - 1) ? value : value - (1u << category) + 1);
}

static __device__ const Codes *codes_of(const Interval &interval, u32 phase)
{
    u64 address = phase == 0   ? interval.codes[0]
                  : phase == 1 ? interval.codes[1]
                               : interval.codes[2];
    return (const Codes *)address;
}

// Decodes each part once, from where the part before it ended in the last round. A place is its
// bit * 4 + the component that is next.
extern "C" __global__ void lossless_sync(const Interval *intervals, u32 count, u32 round)
{
    u32 step = gridDim.x * blockDim.x;
    for (u32 s = blockIdx.y; s < count; s += gridDim.y) {
        const Interval interval = intervals[s];
        const u32 *words = (const u32 *)interval.bits;
        u32 bits = bit_count(interval), parts = live_parts(interval);
        u32 *starts = (u32 *)interval.parts;
        u32 *ends = starts + interval.part_count * (1 + (round & 1));
        const u32 *before = starts + interval.part_count * (2 - (round & 1));
        u32 *counts = starts + interval.part_count * 3;
        for (u32 p = blockIdx.x * blockDim.x + threadIdx.x; p < parts; p += step) {
            u32 start = p * PART * 4;
            if (round > 0 && p > 0)
                start = before[p - 1];
            if (round > 0 && start == starts[p]) {
                ends[p] = before[p];
                continue;
            }
            u32 end = lesser((p + 1) * PART, bits);
            u32 at = start >> 2, phase = start & 3, symbols = 0;
            while (at < end) {
                u32 code = code_of(codes_of(interval, phase), window_at(words, at));
                at += (code & 255) + extra_bits(code >> 8);
                phase = phase + 1 < interval.phases ? phase + 1 : 0;
                symbols++;
            }
            starts[p] = start;
            ends[p] = at * 4 + phase;
            counts[p] = symbols;
        }
    }
}

// Counts become the number of the first sample. A part that has not settled matters where a sample
// begins in it.
extern "C" __global__ void lossless_link(const Interval *intervals, u32 count, u32 rounds, u32 *flags)
{
    __shared__ u32 shared[ADDERS];
    for (u32 s = blockIdx.x; s < count; s += gridDim.x) {
        const Interval interval = intervals[s];
        u32 samples = sample_count(interval), parts = live_parts(interval), total;
        const u32 *starts = (const u32 *)interval.parts;
        const u32 *ends = starts + interval.part_count * (1 + ((rounds - 1) & 1));
        u32 *counts = (u32 *)interval.parts + interval.part_count * 3;
        u32 share = (parts + blockDim.x - 1) / blockDim.x;
        u32 from = lesser(threadIdx.x * share, parts);
        u32 to = lesser(from + share, parts), sum = 0;
        for (u32 p = from; p < to; p++)
            sum += counts[p];
        u32 at = sum_before(shared, sum, &total), wrong = 0;
        for (u32 p = from; p < to; p++) {
            u32 symbols = counts[p];
            if (at < samples && starts[p] != (p == 0 ? 0 : ends[p - 1]))
                wrong = UNSETTLED;
            counts[p] = at;
            at += symbols;
        }
        if (threadIdx.x == 0 && total < samples)
            wrong |= BROKEN;
        if (wrong)
            atomicOr(&flags[interval.frame], wrong);
    }
}

// What may stand behind the last sample: bytes 0 and FF, and two others. Encoders pad so.
static __device__ bool is_surplus(const Interval &interval, u32 at)
{
    const u8 *bytes = (const u8 *)interval.bits;
    u32 end = bit_count(interval) / 8, others = 0;
    u32 from = (at + 7) / 8;
    // One thread looks: what takes it long is for the CPU to judge.
    if (end > from + 2 * TILE)
        return true;
    for (u32 i = from; i < end; i++)
        others += bytes[i ^ 3] != 0 && bytes[i ^ 3] != 0xFF;
    return others > 2;
}

extern "C" __global__ void lossless_emit(const Interval *intervals, u32 count, u32 *flags)
{
    u32 step = gridDim.x * blockDim.x;
    for (u32 s = blockIdx.y; s < count; s += gridDim.y) {
        const Interval interval = intervals[s];
        if (is_lost(flags, interval))
            continue;
        const u32 *words = (const u32 *)interval.bits;
        u16 *differences = (u16 *)interval.samples;
        u32 samples = sample_count(interval);
        u32 bits = bit_count(interval), parts = live_parts(interval);
        const u32 *starts = (const u32 *)interval.parts;
        const u32 *firsts = starts + interval.part_count * 3;
        u32 wrong = 0;
        for (u32 p = blockIdx.x * blockDim.x + threadIdx.x; p < parts; p += step) {
            u32 end = lesser((p + 1) * PART, bits), number = firsts[p];
            u32 at = starts[p] >> 2, phase = starts[p] & 3;
            while (at < end && number < samples) {
                u32 window = window_at(words, at);
                u32 code = code_of(codes_of(interval, phase), window);
                u32 length = code & 255, category = code >> 8;
                differences[number++] = difference(category, window, length);
                at += length + extra_bits(category);
                phase = phase + 1 < interval.phases ? phase + 1 : 0;
                wrong |= category == NO_CODE || at > bits;
                if (number == samples && !wrong)
                    wrong |= is_surplus(interval, at);
            }
        }
        if (wrong)
            atomicOr(&flags[interval.frame], BROKEN);
    }
}

// ---- prediction (T.81 H.1.2.1, modulo 2^16) ----
//
// By 1 (left) and 2 (above) samples are sums along lines or columns, by 4 (left + above - corner) along
// both, one after the other; by 3 (corner) along diagonals. The first line of an interval is always
// predicted from the left, the first column from above. 5 to 7 halve, which does not commute with
// sums: they go by a wave, all samples with the same column + line at once.

// The first sample, and where the lines or diagonals need it the first column.
extern "C" __global__ void lossless_start(const Interval *intervals, u32 count, const u32 *flags)
{
    __shared__ u32 shared[ADDERS];
    for (u32 s = blockIdx.y; s < count; s += gridDim.y) {
        const Interval interval = intervals[s];
        if (interval.selection > 4 || is_lost(flags, interval))
            continue;
        u64 pitch = (u64)interval.columns * interval.components;
        for (u32 c = blockIdx.x; c < interval.components; c += gridDim.x) {
            u16 *column = (u16 *)interval.samples + c;
            if (interval.selection == 2 || interval.selection == 4) {
                if (threadIdx.x == 0)
                    column[0] = (u16)(column[0] + interval.first);
                continue;
            }
            u32 share = (interval.lines + blockDim.x - 1) / blockDim.x, total, sum = 0;
            u32 from = lesser(threadIdx.x * share, interval.lines);
            u32 to = lesser(from + share, interval.lines);
            for (u32 y = from; y < to; y++)
                sum += column[y * pitch];
            u32 value = interval.first + sum_before(shared, sum, &total);
            for (u32 y = from; y < to; y++) {
                value += column[y * pitch];
                column[y * pitch] = (u16)value;
            }
        }
    }
}

// Sums along lines: all of them, or the first.
extern "C" __global__ void lossless_rows(const Interval *intervals, u32 count, const u32 *flags)
{
    __shared__ u32 shared[ADDERS];
    for (u32 s = blockIdx.y; s < count; s += gridDim.y) {
        const Interval interval = intervals[s];
        if (interval.selection > 4 || is_lost(flags, interval))
            continue;
        bool all = interval.selection == 1 || interval.selection == 4;
        u32 rows = (all ? interval.lines : 1) * interval.components;
        u32 share = (interval.columns + blockDim.x - 1) / blockDim.x;
        u32 from = lesser(threadIdx.x * share, interval.columns);
        u32 to = lesser(from + share, interval.columns);
        for (u32 r = blockIdx.x; r < rows; r += gridDim.x) {
            u32 line = r / interval.components, total, sum = 0;
            u64 start = (u64)line * interval.columns * interval.components;
            u16 *row = (u16 *)interval.samples + start + (r - line * interval.components);
            for (u32 x = from; x < to; x++)
                sum += row[x * interval.components];
            u32 value = sum_before(shared, sum, &total);
            for (u32 x = from; x < to; x++) {
                value += row[x * interval.components];
                row[x * interval.components] = (u16)value;
            }
        }
    }
}

// Sums down columns, or along diagonals from the first line and the first column.
extern "C" __global__ void lossless_down(const Interval *intervals, u32 count, const u32 *flags)
{
    u32 step = gridDim.x * blockDim.x;
    for (u32 s = blockIdx.y; s < count; s += gridDim.y) {
        const Interval interval = intervals[s];
        bool ours = interval.selection >= 2 && interval.selection <= 4;
        if (!ours || is_lost(flags, interval))
            continue;
        u64 pitch = (u64)interval.columns * interval.components;
        bool diagonal = interval.selection == 3;
        u64 stride = pitch + (diagonal ? interval.components : 0);
        u32 tops = interval.columns * interval.components;
        u32 sides = diagonal ? (interval.lines - 1) * interval.components : 0;
        for (u32 w = blockIdx.x * blockDim.x + threadIdx.x; w < tops + sides; w += step) {
            u32 line = 0, column = w;
            if (w >= tops) {
                line = (w - tops) / interval.components + 1;
                column = (w - tops) - (line - 1) * interval.components;
            }
            u16 *at = (u16 *)interval.samples + line * pitch + column;
            u32 left = interval.lines - line;
            if (diagonal)
                left = lesser(left, interval.columns - column / interval.components);
            u32 value = *at;
            for (u32 i = 1; i < left; i++) {
                at += stride;
                value += *at;
                *at = (u16)value;
            }
        }
    }
}

static __device__ int predicted(const Interval &interval, const u16 *at, u32 x, u32 y)
{
    u64 pitch = (u64)interval.columns * interval.components;
    if (x == 0)
        return y == 0 ? (int)interval.first : at[-(long long)pitch];
    int left = at[-(long long)interval.components];
    if (y == 0)
        return left;
    const u16 *up = at - pitch;
    int above = *up, corner = up[-(long long)interval.components];
    switch (interval.selection) {
    case 5:
        return left + ((above - corner) >> 1);
    case 6:
        return above + ((left - corner) >> 1);
    default:
        return (left + above) >> 1;
    }
}

// One block for a component of an interval.
extern "C" __global__ void lossless_wave(const Interval *intervals, u32 count, const u32 *flags)
{
    for (u32 s = blockIdx.y; s < count; s += gridDim.y) {
        const Interval interval = intervals[s];
        if (interval.selection < 5 || is_lost(flags, interval))
            continue;
        u64 pitch = (u64)interval.columns * interval.components;
        for (u32 c = blockIdx.x; c < interval.components; c += gridDim.x) {
            u16 *samples = (u16 *)interval.samples + c;
            for (u32 wave = 0; wave < interval.columns + interval.lines - 1; wave++) {
                u32 top = wave < interval.columns ? 0 : wave - interval.columns + 1;
                u32 end = lesser(wave + 1, interval.lines);
                for (u32 y = top + threadIdx.x; y < end; y += blockDim.x) {
                    u32 x = wave - y;
                    u16 *at = samples + y * pitch + (u64)x * interval.components;
                    *at = (u16)(predicted(interval, at, x, y) + *at);
                }
                __syncthreads();
            }
        }
    }
}
