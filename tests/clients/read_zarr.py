"""zarr-python: volume.zarr, a group of Zarr v3 with the metadata of OME-Zarr 0.5."""

import zarr

from judge import Reader, Seen, judge


def read(volume, path):
    group = zarr.open_group(path, mode="r", zarr_format=3)
    array = group["0"]
    assert array.chunks[-2 - volume.is_colour :] == array.shape[-2 - volume.is_colour :], "a frame a chunk"
    return Seen(array[...], spacing_mm=ome_spacing(volume, group.attrs))


def ome_spacing(volume, attributes):
    """The steps in space that OME-Zarr says; it has no words for a trailing colour axis."""
    if volume.is_colour:
        assert "ome" not in attributes
        return None
    (multiscale,) = attributes["ome"]["multiscales"]
    (dataset,) = multiscale["datasets"]
    assert dataset["path"] == "0"
    (scale,) = [t["scale"] for t in dataset["coordinateTransformations"] if t["type"] == "scale"]
    is_space = [axis.get("type") == "space" for axis in multiscale["axes"]]
    return tuple(step for step, space in zip(scale, is_space, strict=True) if space)


def run(mount, volumes):
    return [judge(Reader("zarr volume.zarr", "volume.zarr", read), volumes)]
