// A libnvjpeg2k.so.0 for machines without a GPU. It reads the headers of a codestream by itself and
// decodes nothing: the samples come from a folder of answers that the test wrote before.
//
//   answers   $FAKE_NVJPEG2K_ANSWERS, else the folder "answers" beside this library. A file there is
//             named by the FNV-1a hash (64 bits, 16 hex digits) of the codestream and holds "FNVJ2K1",
//             a zero byte, width, height, components and bytes a sample (32 bits, little endian), and
//             the planes.
//   faults    $FAKE_NVJPEG2K_FAULTS, else the file "faults" beside this library: a list such as
//             "parse:3,zero:0". The number says at which call of its kind, from 1, since the handle was
//             made; 0 means at each.
//                create state parse parse_internal decode alloc exec arch internal   a status
//                zero wrong         success, and other samples than asked for
//                skip               success, and nothing is written
//                hang die           never returns; ends the process
//   version   the file "version" beside this library, "0.11.0" when there is none.
//   live      written beside this library when a handle is destroyed: how many decode states, streams
//             and parameters are left.
//
// Device memory is memory: the planes are written at once, whatever the stream. A decode state that is
// destroyed, or a stream that was never parsed, is an error of the caller and answered as one.

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
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

struct ImageInfo {
    uint32_t width, height, tile_width, tile_height, tiles_x, tiles_y, components;
};

struct ComponentInfo {
    uint32_t width, height;
    uint8_t precision, sgn;
};

struct Image {
    void** data;
    size_t* pitch;
    int type;
    uint32_t components;
};

constexpr uint32_t ALIVE = 0x4A324B21;

struct Handle {
    uint32_t alive = ALIVE;
};
struct State {
    uint32_t alive = ALIVE;
};
struct Params {
    uint32_t alive = ALIVE;
    int rgb = 0, format = 0;
};
struct Stream {
    uint32_t alive = ALIVE;
    bool parsed = false;
    ImageInfo info{};
    std::vector<ComponentInfo> components;
    uint64_t hash = 0;
};

std::atomic<int> live_states, live_streams, live_params;
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
    std::stringstream list(text_of("FAKE_NVJPEG2K_FAULTS", "faults"));
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

template <typename T>
int destroy(T* object) {
    if (!alive(object)) return NOT_INITIALIZED;
    object->alive = 0;
    delete object;
    return OK;
}

uint64_t fnv1a(const uint8_t* data, size_t length) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++) hash = (hash ^ data[i]) * 0x100000001b3u;
    return hash;
}

uint32_t be(const uint8_t* at, int bytes) {
    uint32_t value = 0;
    while (bytes--) value = value << 8 | *at++;
    return value;
}

// SIZ, and that COD and QCD stand before the first tile-part.
int read_headers(const uint8_t* data, size_t length, Stream& stream) {
    const uint8_t start[] = {0xFF, 0x4F, 0xFF, 0x51};
    if (length < 45 || std::memcmp(data, start, 4) != 0) return BAD_JPEG;
    const uint8_t* siz = data + 6;
    const uint32_t count = be(siz + 34, 2);
    if (be(data + 4, 2) != 38 + 3 * count || length < 42 + 3 * count || count == 0) return BAD_JPEG;
    if (count > 4) return NOT_SUPPORTED;
    const uint32_t width = be(siz + 2, 4), height = be(siz + 6, 4);
    const uint32_t tile_width = be(siz + 18, 4), tile_height = be(siz + 22, 4);
    if (!width || !height || !tile_width || !tile_height) return BAD_JPEG;
    if (be(siz + 10, 4) || be(siz + 14, 4) || be(siz + 26, 4) || be(siz + 30, 4)) return NOT_SUPPORTED;
    stream.info = {width,      height,
                   tile_width, tile_height,
                   (width - 1) / tile_width + 1, (height - 1) / tile_height + 1,
                   count};
    stream.components.clear();
    for (uint32_t c = 0; c < count; c++) {
        const uint8_t* spec = siz + 36 + 3 * c;
        if (!spec[1] || !spec[2]) return BAD_JPEG;
        const uint8_t precision = static_cast<uint8_t>((spec[0] & 0x7F) + 1);
        if (precision > 16) return NOT_SUPPORTED;
        stream.components.push_back({(width - 1) / spec[1] + 1, (height - 1) / spec[2] + 1, precision,
                                     static_cast<uint8_t>(spec[0] >> 7)});
    }
    bool cod = false, qcd = false;
    for (size_t at = 42 + 3 * count; at + 4 <= length;) {
        const uint32_t marker = be(data + at, 2);
        if (marker == 0xFF90) return cod && qcd ? OK : BAD_JPEG;
        if (marker < 0xFF01 || be(data + at + 2, 2) < 2) return BAD_JPEG;
        cod |= marker == 0xFF52;
        qcd |= marker == 0xFF5C;
        at += 2 + be(data + at + 2, 2);
    }
    return BAD_JPEG;
}

// The planes of an answer, checked against the picture and against what is asked for.
int answer(const Stream& stream, const Image& out, std::vector<char>& planes, size_t& sample_bytes) {
    char name[32];
    std::snprintf(name, sizeof name, "/%016llx", static_cast<unsigned long long>(stream.hash));
    const char* folder = std::getenv("FAKE_NVJPEG2K_ANSWERS");
    std::ifstream in((folder ? std::string(folder) : beside("answers")) + name, std::ios::binary);
    char magic[8];
    uint32_t head[4];
    if (!in.read(magic, 8) || std::memcmp(magic, "FNVJ2K1", 8) != 0) return NOT_SUPPORTED;
    if (!in.read(reinterpret_cast<char*>(head), sizeof head)) return NOT_SUPPORTED;
    const ImageInfo& info = stream.info;
    if (head[0] != info.width || head[1] != info.height || head[2] != info.components) return INTERNAL;
    sample_bytes = out.type == 0 ? 1 : 2;
    const ComponentInfo& first = stream.components[0];
    const int type = first.sgn ? 2 : first.precision > 8 ? 1 : 0;
    if (out.type != type || head[3] != sample_bytes || out.components != info.components) return INVALID;
    planes.assign(size_t(head[0]) * head[1] * head[2] * head[3], 0);
    return in.read(planes.data(), static_cast<std::streamsize>(planes.size())) ? OK : NOT_SUPPORTED;
}

}  // namespace

#define API extern "C" __attribute__((visibility("default"))) int

API nvjpeg2kGetProperty(int type, int* value) {
    std::string version = text_of(nullptr, "version");
    if (version.empty()) version = "0.11.0";
    int parts[3] = {0, 0, 0};
    std::sscanf(version.c_str(), "%d.%d.%d", &parts[0], &parts[1], &parts[2]);
    if (!value || type < 0 || type > 2) return INVALID;
    *value = parts[type];
    return OK;
}

API nvjpeg2kCreateSimple(Handle** handle) {
    if (!handle) return INVALID;
    read_faults();
    if (goes_wrong("create")) return EXECUTION;
    *handle = new Handle;
    return OK;
}

API nvjpeg2kDestroy(Handle* handle) {
    const int status = destroy(handle);
    std::ofstream(beside("live")) << live_states << ' ' << live_streams << ' ' << live_params;
    return status;
}

API nvjpeg2kDecodeStateCreate(Handle* handle, State** state) {
    if (!alive(handle)) return NOT_INITIALIZED;
    if (!state) return INVALID;
    if (goes_wrong("state")) return EXECUTION;
    live_states++;
    *state = new State;
    return OK;
}

API nvjpeg2kDecodeStateDestroy(State* state) {
    live_states--;
    return destroy(state);
}

API nvjpeg2kStreamCreate(Stream** stream) {
    if (!stream) return INVALID;
    live_streams++;
    *stream = new Stream;
    return OK;
}

API nvjpeg2kStreamDestroy(Stream* stream) {
    live_streams--;
    return destroy(stream);
}

API nvjpeg2kStreamParse(Handle* handle, const uint8_t* data, size_t length, int, int, Stream* stream) {
    if (!alive(handle) || !alive(stream)) return NOT_INITIALIZED;
    if (!data) return INVALID;
    if (goes_wrong("parse")) return BAD_JPEG;
    if (goes_wrong("parse_internal")) return INTERNAL;
    const int status = read_headers(data, length, *stream);
    stream->parsed = status == OK;
    stream->hash = fnv1a(data, length);
    return status;
}

API nvjpeg2kStreamGetImageInfo(Stream* stream, ImageInfo* info) {
    if (!alive(stream) || !stream->parsed) return NOT_INITIALIZED;
    *info = stream->info;
    return OK;
}

API nvjpeg2kStreamGetImageComponentInfo(Stream* stream, ComponentInfo* info, uint32_t component) {
    if (!alive(stream) || !stream->parsed) return NOT_INITIALIZED;
    if (component >= stream->components.size()) return INVALID;
    *info = stream->components[component];
    return OK;
}

API nvjpeg2kDecodeParamsCreate(Params** params) {
    if (!params) return INVALID;
    live_params++;
    *params = new Params;
    return OK;
}

API nvjpeg2kDecodeParamsDestroy(Params* params) {
    live_params--;
    return destroy(params);
}

API nvjpeg2kDecodeParamsSetRGBOutput(Params* params, int32_t on) {
    if (!alive(params)) return NOT_INITIALIZED;
    params->rgb = on;
    return OK;
}

API nvjpeg2kDecodeParamsSetOutputFormat(Params* params, int format) {
    if (!alive(params)) return NOT_INITIALIZED;
    params->format = format;
    return OK;
}

API nvjpeg2kDecodeImage(Handle* handle, State* state, Stream* stream, Params* params, Image* out, void*) {
    if (!alive(handle) || !alive(state) || !alive(stream) || !alive(params)) return NOT_INITIALIZED;
    if (!stream->parsed || !out || params->rgb || params->format) return INVALID;
    if (goes_wrong("decode")) return NOT_SUPPORTED;
    if (goes_wrong("alloc")) return ALLOCATOR;
    if (goes_wrong("exec")) return EXECUTION;
    if (goes_wrong("arch")) return ARCH;
    if (goes_wrong("internal")) return INTERNAL;
    if (goes_wrong("die")) std::abort();
    if (goes_wrong("hang"))
        for (;;) pause();
    std::vector<char> planes;
    size_t sample_bytes = 0;
    const int status = answer(*stream, *out, planes, sample_bytes);
    if (status != OK) return status;
    if (goes_wrong("skip")) return OK;
    if (goes_wrong("zero")) std::fill(planes.begin(), planes.end(), 0);
    if (goes_wrong("wrong")) planes[planes.size() / 2] ^= 1;
    const size_t row = stream->info.width * sample_bytes;
    const char* from = planes.data();
    for (uint32_t c = 0; c < out->components; c++) {
        char* to = static_cast<char*>(out->data[c]);
        if (!to || out->pitch[c] < row) return INVALID;
        for (uint32_t y = 0; y < stream->info.height; y++, to += out->pitch[c], from += row)
            std::memcpy(to, from, row);
    }
    return OK;
}
