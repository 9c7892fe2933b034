"""TensorStore: the array of volume.zarr."""

import tensorstore

from judge import Reader, Seen, judge


def read(volume, path):
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/0/"}}
    array = tensorstore.open(spec, open=True, read=True).result()
    return Seen(array.read().result())


def run(mount, volumes):
    return [judge(Reader("tensorstore volume.zarr", "volume.zarr", read), volumes)]
