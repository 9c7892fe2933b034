"""What examples/04_slicer.py uses of 3D Slicer's module, by the ITK that Slicer reads images with."""

import types

import SimpleITK as sitk


class _Node:
    def __init__(self, path, name):
        self._image = sitk.ReadImage(path)
        self._name = name

    def GetName(self):
        return self._name

    def GetImageData(self):
        return types.SimpleNamespace(GetDimensions=self._image.GetSize)


util = types.SimpleNamespace(loadVolume=lambda path, properties: _Node(path, properties["name"]))
