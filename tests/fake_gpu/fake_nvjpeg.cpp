// A libnvjpeg.so.12 for machines without a GPU. It reads the headers of a picture by itself and decodes
// nothing: the samples come from a folder of answers that the test wrote before.
//
//   answers   $FAKE_NVJPEG_ANSWERS, else the folder "answers" beside this library. A file there is named
//             by the FNV-1a hash (64 bits, 16 hex digits) of the picture and holds "FNVJPEG", a zero
//             byte, width, height and components (32 bits, little endian), and the planes. A picture
//             without an answer is a broken one: the call that it is in fails.
//   faults    $FAKE_NVJPEG_FAULTS, else the file "faults" beside this library: a list such as
//             "info:3,zero:0". The number says at which call of its kind, from 1, since the handle was
//             made; 0 means at each.
//                create state info initialize batch decode alloc exec arch internal   a status
//                other              the header is read as that of a wider picture
//                zero wrong near    success, and other samples than asked for; near: each off by one
//                hang die           never returns; ends the process
//   version   the file "version" beside this library, "12.4.0" when there is none.
//   live      written beside this library when a handle is destroyed: how many decode states are left,
//             and calls for a batch and for one picture that went well.
//
// Device memory is memory: the planes are written at once, whatever the stream.

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

namespace {

enum Status {
    OK = 0,
    NOT_INITIALIZED = 1,
    INVALID = 2,
    BAD_JPEG = 3,
    NOT_SUPPORTED = 4,
    ALLOCATOR = 5,
    EXECUTION = 6,
    ARCH = 7,
    INTERNAL = 8,
};

enum { UNCHANGED = 0, CSS_444 = 0, CSS_420 = 2, CSS_GRAY = 6, CSS_UNKNOWN = -1 };

struct Image {
    uint8_t* channel[4];
    size_t pitch[4];
};

struct Info {
    int components = 0, subsampling = CSS_UNKNOWN, width = 0, height = 0;
};

constexpr uint32_t ALIVE = 0x4A504721;

struct Handle {
    uint32_t alive = ALIVE;
};
struct State {
    uint32_t alive = ALIVE;
    int batch = 0;
};

std::atomic<int> live_states, batches, singles;
std::mutex faults_lock;
std::map<std::string, int> faults, calls;

std::string beside(const char* name) {
    Dl_info here{};
    if (!dladdr(reinterpret_cast<void*>(&beside), &here) || !here.dli_fname) return name;
    std::string path = here.dli_fname;
    return path.substr(0, path.rfind('/') + 1) + name;
}

std::string text_of(const char* variable, const char* file) {
    if (const char* value = variable ? std::getenv(variable) : nullptr) return value;
    std::ifstream in(beside(file));
    return {std::istreambuf_iterator<char>(in), {}};
}

void read_faults() {
    std::lock_guard<std::mutex> guard(faults_lock);
    faults.clear();
    calls.clear();
    std::stringstream list(text_of("FAKE_NVJPEG_FAULTS", "faults"));
    for (std::string item; std::getline(list, item, ',');) {
        item.erase(item.find_last_not_of(" \n") + 1);
        const size_t colon = item.find(':');
        const bool counted = colon != std::string::npos;
        faults[item.substr(0, colon)] = counted ? std::atoi(item.c_str() + colon + 1) : 0;
    }
}

// Counts a call of this kind; true when it is to go wrong.
bool goes_wrong(const char* kind) {
    std::lock_guard<std::mutex> guard(faults_lock);
    const int call = ++calls[kind];
    const auto fault = faults.find(kind);
    return fault != faults.end() && (fault->second == 0 || fault->second == call);
}

template <typename T>
bool alive(const T* object) {
    return object && object->alive == ALIVE;
}

uint64_t fnv1a(const uint8_t* data, size_t length) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++) hash = (hash ^ data[i]) * 0x100000001b3u;
    return hash;
}

// The frame header of a baseline or extended sequential picture.
int read_header(const uint8_t* data, size_t length, Info& info) {
    if (length < 4 || data[0] != 0xFF || data[1] != 0xD8) return BAD_JPEG;
    for (size_t at = 2; at + 4 <= length;) {
        if (data[at] != 0xFF) return BAD_JPEG;
        const uint8_t marker = data[at + 1];
        if (marker == 0xFF) {
            at++;
            continue;
        }
        const size_t size = data[at + 2] << 8 | data[at + 3];
        if (size < 2 || at + 2 + size > length) return BAD_JPEG;
        if (marker == 0xC0 || marker == 0xC1) {
            const uint8_t* body = data + at + 4;
            if (size < 8 || body[0] != 8) return NOT_SUPPORTED;
            info.height = body[1] << 8 | body[2];
            info.width = body[3] << 8 | body[4];
            info.components = body[5];
            if (size < 8u + 3 * info.components || info.components > 4) return BAD_JPEG;
            bool same = true;
            for (int c = 0; c < info.components; c++) same &= body[7 + 3 * c] == body[7];
            if (info.components == 1) info.subsampling = CSS_GRAY;
            else info.subsampling = same ? CSS_444 : CSS_420;
            return OK;
        }
        if (marker == 0xC2 || marker == 0xDA) return NOT_SUPPORTED;
        at += 2 + size;
    }
    return BAD_JPEG;
}

int decode(const uint8_t* data, size_t length, const Image& out) {
    Info info;
    if (int status = read_header(data, length, info)) return status;
    char name[32];
    std::snprintf(name, sizeof name, "/%016llx", static_cast<unsigned long long>(fnv1a(data, length)));
    const char* folder = std::getenv("FAKE_NVJPEG_ANSWERS");
    std::ifstream in((folder ? std::string(folder) : beside("answers")) + name, std::ios::binary);
    char magic[8];
    uint32_t head[3];
    if (!in.read(magic, 8) || std::memcmp(magic, "FNVJPEG", 8) != 0) return BAD_JPEG;
    if (!in.read(reinterpret_cast<char*>(head), sizeof head)) return BAD_JPEG;
    if (head[0] != uint32_t(info.width) || head[1] != uint32_t(info.height)) return INTERNAL;
    if (head[2] != uint32_t(info.components)) return INTERNAL;
    const bool zero = goes_wrong("zero"), near = goes_wrong("near"), wrong = goes_wrong("wrong");
    std::vector<char> row(head[0]);
    for (uint32_t c = 0; c < head[2]; c++) {
        if (!out.channel[c] || out.pitch[c] < head[0]) return INVALID;
        for (uint32_t y = 0; y < head[1]; y++) {
            if (!in.read(row.data(), head[0])) return BAD_JPEG;
            if (wrong && y == head[1] / 2) row[head[0] / 2] ^= 0x40;
            for (char& sample : row) {
                if (zero) sample = 0;
                if (near) sample = uint8_t(sample) == 255 ? char(254) : char(uint8_t(sample) + 1);
            }
            std::memcpy(out.channel[c] + y * out.pitch[c], row.data(), head[0]);
        }
    }
    // What the picture has not must be given as nothing.
    for (uint32_t c = head[2]; c < 4; c++)
        if (out.channel[c]) return INVALID;
    return OK;
}

// The faults of a call that decodes.
int decoding_fault() {
    if (goes_wrong("alloc")) return ALLOCATOR;
    if (goes_wrong("exec")) return EXECUTION;
    if (goes_wrong("arch")) return ARCH;
    if (goes_wrong("internal")) return INTERNAL;
    if (goes_wrong("die")) std::abort();
    if (goes_wrong("hang"))
        for (;;) pause();
    return OK;
}

}  // namespace

#define API extern "C" __attribute__((visibility("default"))) int

API nvjpegGetProperty(int type, int* value) {
    std::string version = text_of(nullptr, "version");
    if (version.empty()) version = "12.4.0";
    int parts[3] = {0, 0, 0};
    std::sscanf(version.c_str(), "%d.%d.%d", &parts[0], &parts[1], &parts[2]);
    if (!value || type < 0 || type > 2) return INVALID;
    *value = parts[type];
    return OK;
}

API nvjpegCreateEx(int backend, void* dev, void* pinned, unsigned flags, Handle** handle) {
    if (!handle || dev || pinned || flags || backend < 0 || backend > 5) return INVALID;
    read_faults();
    if (goes_wrong("create")) return EXECUTION;
    *handle = new Handle;
    return OK;
}

API nvjpegDestroy(Handle* handle) {
    if (!alive(handle)) return NOT_INITIALIZED;
    handle->alive = 0;
    delete handle;
    std::ofstream(beside("live")) << live_states << ' ' << batches << ' ' << singles;
    return OK;
}

API nvjpegJpegStateCreate(Handle* handle, State** state) {
    if (!alive(handle)) return NOT_INITIALIZED;
    if (!state) return INVALID;
    if (goes_wrong("state")) return EXECUTION;
    live_states++;
    *state = new State;
    return OK;
}

API nvjpegJpegStateDestroy(State* state) {
    if (!alive(state)) return NOT_INITIALIZED;
    live_states--;
    state->alive = 0;
    delete state;
    return OK;
}

API nvjpegGetImageInfo(Handle* handle, const uint8_t* data, size_t length, int* components,
                       int* subsampling, int* widths, int* heights) {
    if (!alive(handle)) return NOT_INITIALIZED;
    if (!data || !components || !subsampling || !widths || !heights) return INVALID;
    if (goes_wrong("info")) return BAD_JPEG;
    Info info;
    if (int status = read_header(data, length, info)) return status;
    if (goes_wrong("other")) info.width++;
    *components = info.components;
    *subsampling = info.subsampling;
    for (int c = 0; c < 4; c++) {
        widths[c] = c < info.components ? info.width : 0;
        heights[c] = c < info.components ? info.height : 0;
    }
    return OK;
}

API nvjpegDecode(Handle* handle, State* state, const uint8_t* data, size_t length, int format,
                 Image* out, void*) {
    if (!alive(handle) || !alive(state)) return NOT_INITIALIZED;
    if (!data || !out || format != UNCHANGED) return INVALID;
    if (int status = decoding_fault()) return status;
    if (goes_wrong("decode")) return NOT_SUPPORTED;
    const int status = decode(data, length, *out);
    singles += status == OK;
    return status;
}

API nvjpegDecodeBatchedInitialize(Handle* handle, State* state, int batch, int threads, int format) {
    if (!alive(handle) || !alive(state)) return NOT_INITIALIZED;
    if (batch < 1 || threads < 1 || format != UNCHANGED) return INVALID;
    if (goes_wrong("initialize")) return ALLOCATOR;
    state->batch = batch;
    return OK;
}

API nvjpegDecodeBatched(Handle* handle, State* state, const uint8_t* const* data, const size_t* lengths,
                        Image* out, void*) {
    if (!alive(handle) || !alive(state) || state->batch == 0) return NOT_INITIALIZED;
    if (!data || !lengths || !out) return INVALID;
    if (int status = decoding_fault()) return status;
    if (goes_wrong("batch")) return NOT_SUPPORTED;
    for (int i = 0; i < state->batch; i++)
        if (int status = decode(data[i], lengths[i], out[i])) return status;
    batches++;
    return OK;
}
