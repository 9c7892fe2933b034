// A libcufile.so.0 for machines without a GPU: it reads files with pread, as the library itself does in
// its compatibility mode, into the fake device's memory, which is memory.
//
//   faults    $FAKE_CUFILE_FAULTS, else the file "faults" beside this library: a list such as
//             "register:2,short:0". The number says at which call of its kind, from 1, since the driver
//             was started; 0 means at each.
//                open cuda already       the driver does not start; so says CUDA; it is started already
//                register                CU_FILE_GETNEWFD_FAILED: as for a file that may not be opened anew
//                error permission        reading fails by errno (EIO), by a status of cuFile
//                short none more         half of the bytes; none; more than were asked for
//                hang die                never returns; ends the process
//   version   the file "version" beside this library: 1140 when there is none.
//   live      written beside this library when the driver is stopped or a file given back: how often the
//             driver is started, and files that are registered.
//
// A file that is not registered, or whose descriptor was closed, is an error of the caller.

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <string>

namespace {

struct Status {
    int err, cu_err;
};

struct Descr {
    int type;
    union {
        int fd;
        void *handle;
    } handle;
    const void *fs_ops;
};

struct File {
    int fd;
    dev_t device;
    ino_t inode;
};

enum : int {
    NOT_INITIALIZED = 5001,
    CUDA_ERROR = 5011,
    INVALID_FILE_TYPE = 5018,
    INVALID_VALUE = 5022,
    PERMISSION_DENIED = 5025,
    ALREADY_OPEN = 5026,
    NOT_REGISTERED = 5027,
    GETNEWFD_FAILED = 5031,
    SETUP_ERROR = 5033,
};

std::mutex lock;
std::map<std::string, int> faults, calls;
std::set<File *> files;
int started;

std::string beside(const char *name)
{
    Dl_info here{};
    if (!dladdr(reinterpret_cast<void *>(&beside), &here) || !here.dli_fname)
        return name;
    std::string path = here.dli_fname;
    return path.substr(0, path.rfind('/') + 1) + name;
}

std::string text_of(const char *variable, const char *file)
{
    if (const char *value = variable ? std::getenv(variable) : nullptr)
        return value;
    std::ifstream in(beside(file));
    return {std::istreambuf_iterator<char>(in), {}};
}

void read_faults()
{
    faults.clear();
    calls.clear();
    std::stringstream list(text_of("FAKE_CUFILE_FAULTS", "faults"));
    for (std::string item; std::getline(list, item, ',');) {
        item.erase(item.find_last_not_of(" \n") + 1);
        const size_t colon = item.find(':');
        faults[item.substr(0, colon)] = colon == std::string::npos ? 0 : std::atoi(&item[colon + 1]);
    }
}

// Counts a call of this kind; true when it is to go wrong.
bool goes_wrong(const char *kind)
{
    const int call = ++calls[kind];
    const auto fault = faults.find(kind);
    return fault != faults.end() && (fault->second == 0 || fault->second == call);
}

void write_live()
{
    std::ofstream(beside("live")) << started << ' ' << files.size();
}

} // namespace

#define API extern "C" __attribute__((visibility("default")))
#define LOCK std::lock_guard<std::mutex> guard(lock)

API Status cuFileGetVersion(int *version)
{
    const std::string text = text_of(nullptr, "version");
    *version = text.empty() ? 1140 : std::atoi(text.c_str());
    return {0, 0};
}

API Status cuFileDriverOpen()
{
    LOCK;
    read_faults();
    if (goes_wrong("open"))
        return {SETUP_ERROR, 0};
    if (goes_wrong("cuda"))
        return {CUDA_ERROR, 100};
    if (goes_wrong("already"))
        return {ALREADY_OPEN, 0};
    started++;
    return {0, 0};
}

API Status cuFileDriverClose_v2()
{
    LOCK;
    if (started == 0)
        return {NOT_INITIALIZED, 0};
    started--;
    write_live();
    return {0, 0};
}

API Status cuFileDriverClose()
{
    return cuFileDriverClose_v2();
}

API Status cuFileHandleRegister(File **handle, Descr *descr)
{
    LOCK;
    struct stat found;
    if (!handle || !descr || descr->type != 1 || descr->fs_ops)
        return {INVALID_VALUE, 0};
    if (goes_wrong("register"))
        return {GETNEWFD_FAILED, 0};
    const int flags = fcntl(descr->handle.fd, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_WRONLY || fstat(descr->handle.fd, &found) != 0)
        return {INVALID_VALUE, 0};
    if (!S_ISREG(found.st_mode))
        return {INVALID_FILE_TYPE, 0};
    *handle = new File{descr->handle.fd, found.st_dev, found.st_ino};
    files.insert(*handle);
    return {0, 0};
}

API void cuFileHandleDeregister(File *file)
{
    LOCK;
    // Twice, or of nothing, is a mistake that a test must see.
    if (!files.erase(file))
        std::abort();
    delete file;
    write_live();
}

API ssize_t cuFileRead(File *file, void *base, size_t len, off_t offset, off_t base_offset)
{
    File known;
    bool is_short, more;
    {
        LOCK;
        if (!files.count(file))
            return -NOT_REGISTERED;
        known = *file;
        struct stat found;
        // The descriptor must still be the file's.
        if (fstat(known.fd, &found) != 0 || found.st_dev != known.device || found.st_ino != known.inode)
            return -INVALID_VALUE;
        if (goes_wrong("error")) {
            errno = EIO;
            return -1;
        }
        if (goes_wrong("permission"))
            return -PERMISSION_DENIED;
        if (goes_wrong("none"))
            return 0;
        if (goes_wrong("die"))
            std::abort();
        is_short = goes_wrong("short");
        more = goes_wrong("more");
        if (goes_wrong("hang"))
            for (;;)
                pause();
    }
    if (is_short)
        len /= 2;
    size_t done = 0;
    while (done < len) {
        char *to = static_cast<char *>(base) + base_offset + done;
        const ssize_t got = pread(known.fd, to, len - done, offset + done);
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += got;
    }
    return more ? done + 1 : done;
}
