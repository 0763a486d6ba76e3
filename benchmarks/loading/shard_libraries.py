"""Check whether webdataset and litdata repeat and resume the order and augmentation of a training.

The packages are not dependencies: pip install webdataset litdata.
"""

import argparse
import io
import random
import tarfile
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from lomar.datasets.replay import ReplaySampler
from lomar.utils import write_json

SAMPLES, PER_SHARD, BATCH, STEP = 48, 12, 4, 5  # a run is resumed after STEP of 12 batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--json', type=Path, metavar='FILE', help='file to write results to')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = dict(webdataset=webdataset(Path(scratch)), litdata=litdata(Path(scratch)))
    for library, row in found.items():
        print(library, *(f'{name}: {value}' for name, value in row.items()), sep='\n  ')
    if args.json:
        write_json(args.json, found)


def webdataset(folder: Path) -> dict:
    """Return what holds for a shuffled WebDataset of four tar files."""
    import webdataset as wds

    shards = []
    for start in range(0, SAMPLES, PER_SHARD):
        shards.append(str(folder / f'{start:03d}.tar'))
        with tarfile.open(shards[-1], 'w') as tar:
            for number in range(start, start + PER_SHARD):
                content = str(number).encode()
                member = tarfile.TarInfo(f'{number:03d}.txt')
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))

    def data():
        stream = wds.WebDataset(shards, shardshuffle=len(shards), detshuffle=True, seed=0)
        return stream.compose(wds.detshuffle(16, seed=0)).to_tuple('txt').map(_augment)

    def resumed(workers):  # `slice` is the only way to skip samples
        loader = _loader(DataLoader, data().slice(STEP * BATCH, None), workers)
        return _samples(loader)

    return dict(
        version=version('webdataset'),
        takes_a_sampler=_works(lambda: DataLoader(data(), sampler=_sampler())),
        reads_by_index=_works(lambda: data()[5]),
        **_repeats(lambda workers: _samples(_loader(DataLoader, data(), workers)), resumed),
    )


def litdata(folder: Path) -> dict:
    """Return what holds for a shuffled StreamingDataset of four chunks."""
    import litdata
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(folder / 'chunks'), chunk_size=PER_SHARD)
    for number in range(SAMPLES):
        writer[number] = str(number).encode()
    writer.done()
    writer.merge()

    class Augmented(litdata.StreamingDataset):
        def __getitem__(self, index):
            return _augment([super().__getitem__(index)])

    def loader(workers):
        data = Augmented(str(folder / 'chunks'), shuffle=True, seed=0)
        return _loader(litdata.StreamingDataLoader, data, workers)

    def resumed(workers):
        first, second = loader(workers), loader(workers)
        batches = iter(first)
        for _ in range(STEP):
            next(batches)
        second.load_state_dict(first.state_dict())
        return _samples(second)

    return dict(
        version=version('litdata'),
        takes_a_sampler=_works(
            lambda: DataLoader(Augmented(str(folder / 'chunks')), sampler=_sampler())
        ),
        reads_by_index=_works(lambda: Augmented(str(folder / 'chunks'))[5]),
        **_repeats(lambda workers: _samples(loader(workers)), resumed),
    )


def _augment(sample) -> tuple[int, float]:
    """Return the number of a sample, and what an augmentation draws."""
    return int(sample[0]), random.random()


def _loader(kind: Callable, data, workers: int):
    torch.manual_seed(0)  # from which the seeds of worker processes follow
    random.seed(0)
    return kind(data, batch_size=BATCH, num_workers=workers, collate_fn=list)


def _samples(loader) -> list:
    return [sample for batch in loader for sample in batch]


def _sampler() -> ReplaySampler:
    return ReplaySampler(range(SAMPLES), seed=0)


def _works(call: Callable) -> bool:
    try:
        call()
    except (NotImplementedError, TypeError, ValueError):
        return False
    return True


def _repeats(run: Callable[[int], list], resumed: Callable[[int], list]) -> dict:
    """Compare runs by the order of samples, and by order and augmentation."""
    one, two = run(1), run(2)
    pairs = dict(
        same_run=(run(1), one),
        one_and_two_workers=(one, two),
        resumed_with_one_worker=(resumed(1), one[STEP * BATCH :]),
        resumed_with_two_workers=(resumed(2), two[STEP * BATCH :]),
    )
    return {
        name: dict(order=[x for x, _ in a] == [x for x, _ in b], augmentation=a == b)
        for name, (a, b) in pairs.items()
    }


if __name__ == '__main__':
    main()
