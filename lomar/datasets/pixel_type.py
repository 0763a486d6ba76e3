"""Check that the images of a dataset have pixels of one type."""

from pathlib import Path

import numpy as np


class PixelType:
    """Type of the pixels of a loader's first file, which all other files must have.

    8 and 16 bits mostly have two scales, and one mean and standard deviation normalize both.
    """

    def __init__(self):
        self.first: tuple[str | Path, np.dtype] | None = None

    def check(self, path: str | Path, dtype: np.dtype) -> None:
        """Raise a ValueError, which stops a run, if a file has another type than the first one."""
        first, expected = self.first = self.first or (path, dtype)
        if dtype != expected:
            raise ValueError(
                f'{path} has {dtype} pixels, and {first} has {expected}; allowed: one type in all '
                'images, as mean and std of data_preprocessor belong to one scale; write the files '
                'with the same type'
            )
