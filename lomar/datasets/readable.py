"""Datasets of image files that may be damaged: replacement in training, a check before testing."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from logging import WARNING
from time import perf_counter
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from torch import Generator
from torch.utils.data import DataLoader, Dataset

from lomar.compat.dist import main_process
from lomar.datasets.color import SAMPLED, dark_images
from lomar.datasets.load_image import LoadImage
from lomar.datasets.replay import Draw, seed_everything
from lomar.datasets.unreadable import UnreadableImage

MAX_TRIES = 10
PROCESSES = min(16, os.cpu_count() or 1)  # Pillow's decoders hold Python's global lock
BATCH = 64  # images that a process reads at a time
NAMED = 10  # images that an error names
_replaced: dict[str, str] = {}  # for the sample that `samples` fetches: reason by path


class ReadableImages(BaseDataset):
    """Base of datasets whose samples are replayed from the seed of a `Draw`.

    In training, an image that cannot be read is replaced by another one, drawn from the same seed.
    The field `unreadable` of the sample's `data_samples` has the reason by path; `samples` sets it
    if a dataset wrapper packs the sample. With `test_mode`, all images are read once when the
    dataset is made, in the main process.

    Args:
        skip_unreadable: whether images that cannot be read are left out of a test; by default they
            raise an error.

    Attributes:
        left_out: reason by path of the images that are left out of a test.

    Raises:
        OSError: images of a test cannot be read.
    """

    def __init__(self, *args, skip_unreadable: bool = False, **kwargs):
        self.skip_unreadable = skip_unreadable
        self.left_out: dict[str, str] = {}
        super().__init__(*args, **kwargs)

    @property
    def arrays(self) -> bool:
        """Return whether the loader of the pipeline reads `.npy` files."""
        return any(getattr(step, 'reads_arrays', False) for step in self.pipeline.transforms)

    def full_init(self) -> None:
        """Make the list of samples; in a test, without images that cannot be read."""
        if self._fully_initialized:
            return
        super().full_init()
        self._warn_of_dark_images()
        if self.test_mode:
            found = main_process.share(self._unreadable, 'reading the images of a test')
            self._leave_out(found)

    def __getitem__(self, index: int) -> dict:
        """Return a sample, augmented with the seed of `index` if that is a `Draw`.

        Raises:
            OSError: `MAX_TRIES` images in a row cannot be read.
            UnreadableImage: an image cannot be read, in `test_mode`.
        """
        if not self._fully_initialized:
            self.full_init()
        if isinstance(index, Draw):
            seed_everything(index.seed)
        unreadable = {}
        for _ in range(MAX_TRIES):
            try:
                sample = super().__getitem__(int(index))
            except UnreadableImage as error:
                if self.test_mode:
                    raise
                unreadable[error.path] = error.reason
                index = np.random.randint(len(self))
                continue
            _replaced.update(unreadable)
            _mark(sample, unreadable)
            return sample
        names = '\n'.join(f'  {path}: {reason}' for path, reason in unreadable.items())
        where = self.ann_file or self.data_root
        raise OSError(f'{MAX_TRIES} draws in a row from {where} cannot be read:\n{names}')

    def _warn_of_dark_images(self) -> None:
        """Warn of 16-bit images with small values only, which a loader makes dark 8-bit images."""
        load = next(iter(self.pipeline.transforms), None)
        if getattr(load, 'reads_arrays', True):  # keeps the numbers, or knows their range
            return
        chosen = range(0, len(self), max(1, len(self) // SAMPLED))
        if note := dark_images([self.get_data_info(i)['img_path'] for i in chosen]):
            where = self.ann_file or self.data_root
            print_log(f'{where}: {note}', logger='current', level=WARNING)

    def _unreadable(self) -> dict[int, UnreadableImage]:
        """Read all images; return the errors by index."""
        load = next(iter(self.pipeline.transforms), None)
        if not isinstance(load, LoadImage):  # other loaders draw crops, or raise other errors
            return {}

        start = perf_counter()
        reading = DataLoader(
            _Errors(self, load),
            batch_size=BATCH,
            num_workers=0 if len(self) <= BATCH else min(PROCESSES, len(self) // BATCH),
            collate_fn=list,
            generator=Generator(),  # the random state of the run is unchanged
        )
        errors = dict(enumerate(chain.from_iterable(reading)))
        seconds = perf_counter() - start
        text = f'Checked in {seconds:.1f} s that the {len(self)} images to evaluate on can be read'
        print_log(text, logger='current')
        return {index: error for index, error in errors.items() if error is not None}

    def _leave_out(self, unreadable: dict[int, UnreadableImage]) -> None:
        if not unreadable:
            return
        total = len(self)
        self.left_out = {error.path: error.reason for error in unreadable.values()}
        names = [f'  {path}: {reason}' for path, reason in self.left_out.items()]
        count = f'{len(unreadable)} of {total} images of {self.ann_file or self.data_root}'
        if not self.skip_unreadable or len(unreadable) == total:
            more = [f'  and {len(names) - NAMED} more'] if len(names) > NAMED else []
            raise OSError(
                '\n'.join((f'{count} cannot be read:', *names[:NAMED], *more))
                + '\nRepair or remove them, or leave them out of the metrics with --skip-unreadable'
            )
        self.get_subset_([index for index in range(total) if index not in unreadable])
        lines = [f'{count} cannot be read and are left out: metrics cover the other images', *names]
        print_log('\n'.join(lines), logger='current', level=WARNING)


def check_stated_size(info: Mapping, shape: Sequence[int]) -> None:
    """Raise `UnreadableImage` if annotations state another height and width than an image has.

    Before a training, `lomar.detection.check_coco` opens some of the images only.

    Args:
        info: `img_path`, and `height` and `width` of an annotation file, if there are any.
        shape: (H, W, ...) of the upright image.
    """
    stated = info.get('height'), info.get('width')
    if None not in stated and stated != tuple(shape[:2]):
        raise UnreadableImage(
            info['img_path'],
            f'width and height are {stated[1]} x {stated[0]} in the annotations, and the image has '
            f'{shape[1]} x {shape[0]}',
        )


def replayed(loader: DataLoader) -> DataLoader:
    """Make a dataloader fetch each batch with `samples`; return it.

    Lists, and datasets that have a method for batches, stay as they are.
    """
    if hasattr(loader.dataset, '__dict__') and not hasattr(loader.dataset, '__getitems__'):
        vars(loader.dataset)['__getitems__'] = partial(samples, loader.dataset)
    return loader


def samples(dataset: Any, indices: Iterable[int]) -> list:
    """Return samples of a dataset, each augmented with the seed of its index if that is a `Draw`.

    A dataset wrapper may replace the index by one without a seed. Generators are therefore seeded
    before the wrapper is called. It may also pack samples of several images, such as a mosaic. The
    field `unreadable` therefore has the reasons for all of them.
    """
    found = []
    for index in indices:
        if isinstance(index, Draw):
            seed_everything(index.seed)
        _replaced.clear()
        sample = dataset[index]
        _mark(sample, _replaced)
        found.append(sample)
    return found


def _mark(sample: dict, unreadable: dict[str, str]) -> None:
    """Set the field `unreadable` of a sample that is packed and has images that were replaced."""
    if unreadable:
        for one in data_samples(sample):
            one.set_metainfo(dict(unreadable=unreadable))


def data_samples(batch: Any) -> Iterator[BaseDataElement]:
    """Yield the samples in the field `data_samples` of a packed sample or batch.

    With mmdet's `MultiBranch`, the field is a dict of samples or lists by branch, some None.
    """
    found = [batch.get('data_samples')] if isinstance(batch, Mapping) else []
    while found:
        one = found.pop(0)
        if isinstance(one, BaseDataElement):
            yield one
        elif isinstance(one, Mapping):
            found += one.values()
        elif isinstance(one, list | tuple):
            found += one


class _Errors(Dataset):
    """The errors of reading the images of a dataset, None for images that can be read."""

    def __init__(self, images: ReadableImages, load: LoadImage):
        self.images, self.load = images, load

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> UnreadableImage | None:
        info = self.images.get_data_info(index)
        try:
            check_stated_size(info, self.load.read(info['img_path']).shape)
        except UnreadableImage as error:
            return error
        return None
