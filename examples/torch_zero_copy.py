"""A DICOM volume as a tensor on the GPU, mapped there: no copy through the host.

    python torch_zero_copy.py /mnt/dicom/series/1.2.840...

Standard library and torch only; CuPy takes the same object: cupy.asarray(DeviceVolume(path)). Where there is
no GPU it says so and reads volume.npy. Treat the memory as read-only: your other programs may share it.
"""
import ctypes, json, os, socket, sys, uuid
from ctypes import byref, c_size_t, c_uint64, c_void_p


class DeviceVolume:
    """What `volume.cuda.json` gives, mapped. The open file is the lease: tensors keep this, and this keeps it."""

    def __init__(self, path):
        self.file = open(path)
        self.info = info = json.load(self.file)  # waits until the volume is on the device
        self.cuda, self.pointer, self.mapped = ctypes.CDLL("libcuda.so.1"), c_uint64(), []
        self.call("cuInit", 0)
        self.device = self.find(info["device"]["uuid"])
        self.context, handle = c_void_p(), info["handle"]
        self.call("cuDevicePrimaryCtxRetain", byref(self.context), self.device)
        self.call("cuCtxPushCurrent_v2", self.context)  # and back: which device is current is the caller's
        try:
            if handle["kind"] == "posix_fd":
                self.map_descriptor(handle, c_size_t(handle["allocation_bytes"]))
            else:
                ipc = (ctypes.c_ubyte * 64).from_buffer_copy(bytes.fromhex(handle["hex"]))
                by_value = type("Handle", (ctypes.Structure,), {"_fields_": [("bytes", ctypes.c_ubyte * 64)]})(ipc)
                self.call("cuIpcOpenMemHandle_v2", byref(self.pointer), by_value, 1)
                self.mapped.append(("cuIpcCloseMemHandle", self.pointer))
        finally:
            self.call("cuCtxPopCurrent_v2", byref(c_void_p()))
        self.__cuda_array_interface__ = {
            "shape": tuple(info["shape"]), "typestr": info["typestr"], "strides": tuple(info["strides_bytes"]),
            "data": (self.pointer.value + info["offset_bytes"], False), "version": 3}

    def map_descriptor(self, handle, size):
        with socket.socket(socket.AF_UNIX) as door:
            door.connect(handle["socket"])
            door.sendall(handle["token"].encode() + b"\n")
            answer, fds, _, _ = socket.recv_fds(door, 1, 1)
        if answer != b"+":
            raise OSError("the token was refused")
        memory, access = c_uint64(), (ctypes.c_int * 3)(1, self.device.value, 3)  # this device; read and write
        try:
            self.call("cuMemImportFromShareableHandle", byref(memory), c_void_p(fds[0]), 1)
        finally:
            os.close(fds[0])
        self.mapped.append(("cuMemRelease", memory))
        self.call("cuMemAddressReserve", byref(self.pointer), size, c_size_t(0), c_uint64(0), c_uint64(0))
        self.mapped.append(("cuMemAddressFree", self.pointer, size))
        self.call("cuMemMap", self.pointer, size, c_size_t(0), memory, c_uint64(0))
        self.mapped.append(("cuMemUnmap", self.pointer, size))
        self.call("cuMemSetAccess", self.pointer, size, access, c_size_t(1))

    def find(self, wanted):  # numbers differ from process to process, UUIDs do not
        count, device, found = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(16)
        self.call("cuDeviceGetCount", byref(count))
        for ordinal in range(count.value):
            self.call("cuDeviceGet", byref(device), ordinal)
            self.call("cuDeviceGetUuid", found, device)
            if f"GPU-{uuid.UUID(bytes=found.raw)}" == wanted:
                return device
        raise OSError(f"{wanted} is not to be seen from here")

    def call(self, name, *arguments):
        if status := getattr(self.cuda, name)(*arguments):
            raise OSError(f"{name}: CUDA error {status}")

    def __del__(self):
        if getattr(self, "context", None):
            self.cuda.cuCtxPushCurrent_v2(self.context)  # whichever thread this is
            self.cuda.cuCtxSynchronize()  # nobody works with it any more
            for name, *arguments in reversed(self.mapped):
                getattr(self.cuda, name)(*arguments)
            self.cuda.cuCtxPopCurrent_v2(byref(c_void_p()))
            self.cuda.cuDevicePrimaryCtxRelease_v2(self.device)
        if hasattr(self, "file"):
            self.file.close()


def main(directory):
    try:
        volume = DeviceVolume(os.path.join(directory, "volume.cuda.json"))
        import torch
        tensor = torch.as_tensor(volume, device=f"cuda:{volume.device.value}")
    except (OSError, ImportError, RuntimeError, AssertionError, TypeError) as why:
        print(f"no tensor by way of the GPU ({why}): read from volume.npy")
        import numpy
        tensor = numpy.load(os.path.join(directory, "volume.npy"))
        try:
            import torch
            tensor = torch.from_numpy(tensor)
        except ImportError:
            print("no torch: a NumPy array")
    print(type(tensor).__name__, tuple(tensor.shape), tensor.dtype, getattr(tensor, "device", "cpu"))


if __name__ == "__main__":
    main(sys.argv[1])
