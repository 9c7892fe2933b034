// The kernels: stored bytes in device memory to the values a volume shows.
//
// One source for two compilers: NVRTC makes kernels.ptx of it (build_ptx.py), and the tests include
// it in a libcuda of their own that runs it on the CPU (tests/fake_gpu). Hence no headers, no warp
// intrinsics, and barriers only where all threads of a block come by.
//
// No kernel trusts what it reads: encoded bytes are hostile, so every access is bounded by lengths
// that the host has checked against its buffers (engine.rs). Frames and segments are looped over
// with the stride of the grid: any grid gives the same bytes.
//
// The structs are those of kernels.rs, field by field.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// Frame.source
#define WORDS 0u       // interleaved words, as they are stored in the file
#define WORD_PLANES 1u // the same, one plane a sample
#define BYTE_PLANES 2u // one plane a byte of the pixel, most significant byte of a sample first (RLE)
#define COMPONENTS 3u  // one plane a sample with a pitch, 1 or 2 bytes a sample (JPEG 2000)
#define HALVES 4u      // interleaved samples of 16 bits, whatever the width (JPEG Lossless)

// Frame.show
#define STORED 0u
#define OFFSET_I16 1u
#define OFFSET_I32 2u
#define LINEAR_F32 3u
#define LINEAR_F64 4u

// What goes wrong with a frame, in its word of `flags`.
#define OVERFLOWED 1u
#define ENDS_EARLY 2u
#define UNSETTLED 4u // its codes did not fall into step (lossless.cu)
#define BEYOND 8u    // a sample does not fit its width

struct Frame {
    u64 planes[4];    // addresses of the source; WORDS, WORD_PLANES and BYTE_PLANES have one
    u64 out;          // address of the values
    u64 pitch_bytes;  // BYTE_PLANES: from plane to plane; COMPONENTS: from row to row
    i64 by;           // OFFSET: the intercept
    double slope;     // LINEAR
    double intercept; // LINEAR
    u32 samples_all;  // pixels times samples
    u32 samples;      // samples a pixel
    u32 columns;      // pixels a row
    u32 width;        // bytes of a stored sample: 1, 2, 4 or 8
    u32 source;       // WORDS and so on
    u32 source_width; // COMPONENTS: bytes of a sample in a plane, 1 or 2
    u32 swap;         // the words are big endian
    u32 up;           // left shift that drops what lies above the stored bits of a 64-bit word
    u32 down;         // right shift that brings them to the bottom
    u32 is_signed;    // the right shift extends the sign
    u32 show;         // STORED and so on
    u32 left;         // HALVES: bits that the samples were shifted right by
};

struct Segment {
    u64 packed;      // address of the packets
    u64 plane;       // address of the bytes unpacked
    u64 table;       // address of ENTRIES words a chunk
    u64 starts;      // address of one 64-bit word a chunk
    u32 packed_len;  // bytes
    u32 plane_len;   // bytes wanted
    u32 chunks;      // packed_len in whole CHUNKs, rounded up
    u32 frame;       // whose flags
};

// ---- values ----

static __device__ u64 load(u64 address, u32 width)
{
    switch (width) {
    case 1:
        return *(const u8 *)address;
    case 2:
        return *(const u16 *)address;
    case 4:
        return *(const u32 *)address;
    default:
        return *(const u64 *)address;
    }
}

static __device__ u64 swapped(u64 word, u32 width)
{
    word = ((word & 0x00FF00FF00FF00FFull) << 8) | ((word >> 8) & 0x00FF00FF00FF00FFull);
    word = ((word & 0x0000FFFF0000FFFFull) << 16) | ((word >> 16) & 0x0000FFFF0000FFFFull);
    word = (word << 32) | (word >> 32);
    return word >> (64 - 8 * width);
}

// The bits of sample `at`, counted as interleaved samples are.
static __device__ u64 stored_bits(const Frame &frame, u32 at)
{
    if (frame.source == WORDS) {
        u64 word = load(frame.planes[0] + (u64)at * frame.width, frame.width);
        return frame.swap ? swapped(word, frame.width) : word;
    }
    if (frame.source == HALVES)
        return ((const u16 *)frame.planes[0])[at];
    u32 pixel = at, sample = 0;
    if (frame.samples > 1) {
        pixel = at / frame.samples;
        sample = at - pixel * frame.samples;
    }
    if (frame.source == WORD_PLANES) {
        u64 index = (u64)sample * (frame.samples_all / frame.samples) + pixel;
        u64 word = load(frame.planes[0] + index * frame.width, frame.width);
        return frame.swap ? swapped(word, frame.width) : word;
    }
    if (frame.source == BYTE_PLANES) {
        u64 plane = frame.planes[0] + (u64)sample * frame.width * frame.pitch_bytes + pixel;
        u64 word = 0;
        for (u32 byte = 0; byte < frame.width; byte++, plane += frame.pitch_bytes)
            word = word << 8 | *(const u8 *)plane;
        return word;
    }
    u32 row = pixel / frame.columns;
    u32 column = pixel - row * frame.columns;
    // No index that is known only here: that would put the whole frame into memory.
    u64 plane = sample == 0   ? frame.planes[0]
                : sample == 1 ? frame.planes[1]
                : sample == 2 ? frame.planes[2]
                              : frame.planes[3];
    u64 address = plane + row * frame.pitch_bytes + column * frame.source_width;
    return load(address, frame.source_width);
}

static __device__ void store(u64 address, u64 value, u32 width)
{
    switch (width) {
    case 1:
        *(u8 *)address = (u8)value;
        break;
    case 2:
        *(u16 *)address = (u16)value;
        break;
    case 4:
        *(u32 *)address = (u32)value;
        break;
    default:
        *(u64 *)address = value;
    }
}

// Multiplied and added with a rounding each: never contracted to one (decode/values.rs).
static __device__ double scaled(const Frame &frame, u64 value)
{
    double exact = frame.is_signed ? (double)(i64)value : (double)value;
    return __dadd_rn(__dmul_rn(exact, frame.slope), frame.intercept);
}

// Stored bytes of every frame to what it shows.
extern "C" __global__ void show(const Frame *frames, u32 count, u32 *flags)
{
    for (u32 f = blockIdx.y; f < count; f += gridDim.y) {
        const Frame frame = frames[f];
        if (flags[f] & (ENDS_EARLY | UNSETTLED))
            continue;
        u32 overflowed = 0, beyond = 0;
        u32 step = gridDim.x * blockDim.x;
        for (u32 at = blockIdx.x * blockDim.x + threadIdx.x; at < frame.samples_all; at += step) {
            u64 bits = stored_bits(frame, at);
            beyond |= frame.source == HALVES && frame.width == 1 && bits > 255;
            u64 top = bits << frame.left << frame.up;
            u64 value = frame.is_signed ? (u64)((i64)top >> frame.down) : top >> frame.down;
            i64 sum = (i64)value + frame.by;
            switch (frame.show) {
            case STORED:
                store(frame.out + (u64)at * frame.width, value, frame.width);
                break;
            case OFFSET_I16:
                overflowed |= sum != (i64)(short)sum;
                store(frame.out + (u64)at * 2, (u64)sum, 2);
                break;
            case OFFSET_I32:
                overflowed |= sum != (i64)(int)sum;
                store(frame.out + (u64)at * 4, (u64)sum, 4);
                break;
            case LINEAR_F32:
                ((float *)frame.out)[at] = (float)scaled(frame, value);
                break;
            default:
                ((double *)frame.out)[at] = scaled(frame, value);
            }
        }
        if (overflowed)
            atomicOr(&flags[f], OVERFLOWED);
        if (beyond)
            atomicOr(&flags[f], BEYOND);
    }
}

// ---- RLE Lossless (PS3.5 Annex G) ----
//
// Where a packet starts is known only from all packets before it. So a segment is cut into chunks,
// and rle_walk finds for every byte at which the first packet of a chunk could start (a packet
// reaches at most 128 bytes into the next chunk) where the chunk would then be left and how many
// bytes it would give; rle_link goes through the chunks of a segment once, one look-up each; and
// rle_emit unpacks all chunks at the same time.

// Bytes of a segment that a block walks through.
#define CHUNK 4096u
// Bytes of a chunk at which its first packet can start.
#define ENTRIES 129u
// In place of a start: nothing of this chunk is wanted.
#define NOTHING (~0ull)

static __device__ u32 least(u32 a, u32 b)
{
    return a < b ? a : b;
}

// Goes through the packets of a chunk from its byte `at`, which may lie behind a short last chunk.
// `len`: bytes of the chunk; `left`: bytes of the segment from the start of the chunk. Returns bytes
// unpacked * 256 + entry of the next chunk.
static __device__ u32 walk(const u8 *bytes, u32 len, u32 left, u32 at)
{
    u32 unpacked = 0;
    while (at < len) {
        u32 control = bytes[at];
        if (control < 128) {
            // The last packet may be cut off: what is there of it counts.
            unpacked += least(control + 1, left - at - 1);
            at += control + 2;
        } else if (control > 128) {
            if (at + 1 < left)
                unpacked += 257 - control;
            at += 2;
        } else {
            at += 1;
        }
    }
    return unpacked << 8 | (at - len);
}

extern "C" __global__ void rle_walk(const Segment *segments, u32 count)
{
    __shared__ u8 bytes[CHUNK];
    for (u32 s = blockIdx.y; s < count; s += gridDim.y) {
        const Segment segment = segments[s];
        for (u32 chunk = blockIdx.x; chunk < segment.chunks; chunk += gridDim.x) {
            const u8 *packed = (const u8 *)segment.packed + (u64)chunk * CHUNK;
            u32 left = segment.packed_len - chunk * CHUNK;
            u32 len = least(CHUNK, left);
            for (u32 i = threadIdx.x; i < len; i += blockDim.x)
                bytes[i] = packed[i];
            __syncthreads();
            u32 *table = (u32 *)segment.table + (u64)chunk * ENTRIES;
            for (u32 entry = threadIdx.x; entry < ENTRIES; entry += blockDim.x)
                table[entry] = walk(bytes, len, left, entry);
            __syncthreads();
        }
    }
}

extern "C" __global__ void rle_link(const Segment *segments, u32 count, u32 *flags)
{
    u32 step = gridDim.x * blockDim.x;
    for (u32 s = blockIdx.x * blockDim.x + threadIdx.x; s < count; s += step) {
        const Segment segment = segments[s];
        const u32 *table = (const u32 *)segment.table;
        u64 *starts = (u64 *)segment.starts;
        u32 entry = 0;
        u64 at = 0;
        for (u32 chunk = 0; chunk < segment.chunks; chunk++, table += ENTRIES) {
            if (at >= segment.plane_len) {
                starts[chunk] = NOTHING;
                continue;
            }
            starts[chunk] = at << 8 | entry;
            at += table[entry] >> 8;
            entry = table[entry] & 255;
        }
        if (at < segment.plane_len)
            atomicOr(&flags[segment.frame], ENDS_EARLY);
    }
}

extern "C" __global__ void rle_emit(const Segment *segments, u32 count)
{
    for (u32 s = blockIdx.y; s < count; s += gridDim.y) {
        const Segment segment = segments[s];
        const u8 *packed = (const u8 *)segment.packed;
        u8 *plane = (u8 *)segment.plane;
        for (u32 chunk = blockIdx.x; chunk < segment.chunks; chunk += gridDim.x) {
            u64 start = ((const u64 *)segment.starts)[chunk];
            if (start == NOTHING)
                continue;
            u32 i = chunk * CHUNK + (u32)(start & 255);
            u32 at = (u32)(start >> 8);
            u32 end = chunk * CHUNK + least(CHUNK, segment.packed_len - chunk * CHUNK);
            while (i < end && at < segment.plane_len) {
                u32 control = packed[i];
                u32 room = segment.plane_len - at;
                if (control < 128) {
                    u32 len = least(least(control + 1, segment.packed_len - i - 1), room);
                    for (u32 k = threadIdx.x; k < len; k += blockDim.x)
                        plane[at + k] = packed[i + 1 + k];
                    at += len;
                    i += control + 2;
                } else if (control > 128) {
                    if (i + 1 >= segment.packed_len)
                        break;
                    u32 len = least(257 - control, room);
                    u8 value = packed[i + 1];
                    for (u32 k = threadIdx.x; k < len; k += blockDim.x)
                        plane[at + k] = value;
                    at += len;
                    i += 2;
                } else {
                    i += 1;
                }
            }
        }
    }
}
