"""TIFF files of any bands or pages, read by rasterio, which is optional."""

import os
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from lomar.datasets.pixel_file import PixelFile, dtype_read
from lomar.datasets.shard_images import ImageBytes, ImageFile

# GDAL must not read other files that a file names or that lie beside it. Every worker process has
# its own cache of decoded tiles, which by default takes 5 % of the memory.
GDAL = dict(GDAL_DISABLE_READDIR_ON_OPEN='EMPTY_DIR', GDAL_PAM_ENABLED='NO', GDAL_CACHEMAX=64)


class RasterFile(PixelFile):
    """TIFF file with one page of several bands, or with pages of one band each."""

    def __init__(self, path: ImageFile, pages: Sequence[Any]):
        self.path, self.pages = path, pages
        kinds = {(page.height, page.width, *page.dtypes) for page in pages}
        if len(pages) > 1 and (len(kinds) > 1 or pages[0].count > 1):
            raise ValueError(
                f'{len(pages)} pages of (height, width, *bands) {sorted(kinds)[:3]}; allowed: one '
                'page, or pages of one band each, of one size and one type'
            )
        if 'palette' in (interpretation.name for interpretation in pages[0].colorinterp):
            raise ValueError('pixels are indices of a palette; write the colors as bands')
        self.height, self.width, *_ = pages[0].shape
        self.channels = sum(page.count for page in pages)
        self.dtype = dtype_read(np.dtype(pages[0].dtypes[0]))

    def _part(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        window = ((top, top + height), (left, left + width))
        bands = np.concatenate([page.read(window=window) for page in self.pages])
        declared = [value for page in self.pages for value in page.nodatavals]
        for band, nodata in zip(bands, declared, strict=True):
            if nodata is not None:
                band[np.isnan(band) if np.isnan(nodata) else band == nodata] = 0
        return bands.transpose(1, 2, 0)


def open_raster(path: ImageFile, stack: ExitStack) -> RasterFile:
    """Return a TIFF file, open until `stack` is closed.

    Raises:
        ImportError: rasterio is not installed.
    """
    import rasterio  # imported late: 8-bit RGB does not need GDAL

    stack.enter_context(rasterio.Env(**GDAL))
    if isinstance(path, ImageBytes):
        memory = rasterio.MemoryFile(path.getvalue(), filename='image.tif')
        place: Any = stack.enter_context(memory).name
    else:  # as a path, an address such as https://... is only the name of a file
        place = Path(os.path.abspath(path))
    first = stack.enter_context(_dataset(rasterio, place))
    # Names are GTIFF_DIR:n:path in alphabetical order, so that the tenth precedes the second.
    names = sorted(first.subdatasets, key=lambda name: int(name.split(':')[1]))
    pages = [stack.enter_context(_dataset(rasterio, name)) for name in names]
    return RasterFile(path, pages or [first])


def _dataset(rasterio: Any, name: str | Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(name, driver='GTiff')
