"""Training of a `PatchTokenizer` as a VQ-VAE (arXiv 1711.00937)."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor
from torch.nn.functional import mse_loss, normalize
from torch.utils.data import DataLoader
from tqdm import tqdm

from lomar.datasets import InfiniteReplaySampler, UnlabelledImages, is_readable, list_images
from lomar.models.patches import patch_view
from lomar.targets.tokenizer import PatchTokenizer
from lomar.utils import atomic_write, check_device, undisturbed_rng, write_json

DECAY = 0.9  # decay of the moving averages in the codebook
DEAD = 0.03  # entries with less than this fraction of an even share are replaced by a patch
# Weight of the encoder's distance to the codebook. With VQ-VAE's 0.25, tokens of 8 px patches
# encoded only the color.
COMMITMENT = 0.01
REVIVE = 0.8  # fraction of the steps in which unused entries are replaced
STATISTICS, TEST = 8, 16  # batches for mean and standard deviation, and for the evaluation
MAX_UNREADABLE = 0.05  # fraction of the images, as in `UnreadableImagesHook`
LIMITS = {
    'patch_size': (2, 64),
    'vocabulary': (2, 65536),
    'code_dim': (2, 256),
    'hidden': (8, 4096),
    'steps': (1, 10**7),
    'batch_size': (1, 4096),
    'size': (2, 2048),
    'seed': (0, 2**31 - 1),
    'workers': (0, 256),
}


@dataclass(frozen=True)
class Settings:
    """Settings of `train_tokenizer`.

    Args:
        images: folder or text list, as for pretraining.
        out: file to write, *.pth.
        patch_size, vocabulary, code_dim, hidden: as in `PatchTokenizer`.
        steps: number of optimizer steps.
        batch_size: crops per step; all patches of a crop are used.
        size: side of a crop in pixels, a multiple of `patch_size`.
        lr: peak learning rate of Adam.
        seed: random seed; on a CPU, the same seed gives the same bytes with any number of workers.
        workers: number of processes that load images.
        device: PyTorch device.
        overwrite: replace `out` if the file exists.
    """

    images: str
    out: str
    patch_size: int = 16
    vocabulary: int = 1024
    code_dim: int = 16
    hidden: int = 256
    steps: int = 2000
    batch_size: int = 16
    size: int = 224
    lr: float = 1e-3
    seed: int = 0
    workers: int = 1
    device: str = 'cpu'
    overwrite: bool = False

    def check(self) -> int:
        """Check the settings and return the number of images.

        Raises:
            FileNotFoundError: there are no images.
            OSError: no image can be read.
            ValueError: a setting is out of range, or `out` cannot be written.
        """
        for name, (low, high) in LIMITS.items():
            if not low <= (value := getattr(self, name)) <= high:
                flag = name.replace('_', '-')
                raise ValueError(f'--{flag} is {value}; allowed: {low} to {high}')
        if self.size % self.patch_size:
            raise ValueError(
                f'--size is {self.size}; allowed: multiples of --patch-size {self.patch_size}'
            )
        if not 0 < self.lr <= 1:
            raise ValueError(f'--lr is {self.lr}; allowed: above 0, 1 at most')
        check_device(self.device)
        self._check_out()
        paths = list_images(self.images)
        if not any(map(is_readable, paths)):
            raise OSError(f'--images: none of the {len(paths)} files in {self.images} can be read')
        return len(paths)

    def summary(self, images: int) -> str:
        """Return a summary of the training in three lines."""
        patches = self.batch_size * (self.size // self.patch_size) ** 2
        return (
            f'{images} images in {self.images}\n'
            f'{self.vocabulary} tokens for patches of {self.patch_size} px, from crops of '
            f'{self.size} px\n'
            f'{self.steps} steps of {patches} patches on {self.device}, seed {self.seed}'
        )

    def _check_out(self) -> None:
        out = Path(self.out)
        if out.suffix != '.pth':
            raise ValueError(f'--out is {out}; allowed: a file that ends in .pth')
        if out.exists() and not self.overwrite:
            raise ValueError(f'--out {out} is there already; --overwrite replaces it')
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.is_dir() or not os.access(out.parent, os.W_OK):
            raise ValueError(f'--out {out} cannot be written')


@dataclass(frozen=True)
class Quality:
    """Quality of a tokenizer on a number of patches.

    Attributes:
        error: squared error of the reconstruction, relative to a prediction of each patch's mean.
        mean_colour_error: the same error for a prediction of the mean of each channel.
        perplexity: exponential of the entropy of the tokens.
        used: fraction of the vocabulary that occurs.
        patches: number of patches.
    """

    error: float
    mean_colour_error: float
    perplexity: float
    used: float
    patches: int


class Codebook:
    """Codebook update: entries are moving averages of the codes assigned to each entry."""

    def __init__(self, tokenizer: PatchTokenizer, generator: torch.Generator):
        self.tokenizer, self.generator = tokenizer, generator
        self.averages: tuple[Tensor, Tensor] | None = None  # counts and sums of the entries

    def update(self, codes: Tensor, tokens: Tensor, revive: bool) -> None:
        """Update the codebook with codes (N, D) and their tokens (N,)."""
        entries = self.tokenizer.codebook
        batch_counts = torch.bincount(tokens, minlength=len(entries)).to(codes)
        batch_sums = torch.zeros_like(entries).index_add_(0, tokens, codes)
        counts, sums = self.averages or (batch_counts, batch_sums)
        counts = counts.lerp(batch_counts, 1 - DECAY)
        sums = sums.lerp(batch_sums, 1 - DECAY)
        share = len(codes) / len(entries)
        dead = counts < DEAD * share
        if revive:
            drawn = torch.randint(len(codes), (len(entries),), generator=self.generator)
            sums = torch.where(dead[:, None], codes[drawn.to(codes.device)] * share, sums)
            counts = counts.masked_fill(dead, share)
        self.averages = counts, sums
        # An entry without patches, or with a zero sum of codes, is not changed.
        usable = sums.norm(dim=1, keepdim=True) > 1e-6
        entries.copy_(torch.where(usable, normalize(sums, dim=1), entries))


def fit(
    tokenizer: PatchTokenizer,
    patches: Iterator[Tensor],
    steps: int,
    lr: float = 1e-3,
    seed: int = 0,
) -> None:
    """Train a tokenizer on batches of patches (N, P*P*C) with the pixel values of the files.

    Args:
        lr: peak learning rate, with a cosine decay to zero.
        seed: seed for the patches that replace unused entries.
    """
    codebook = Codebook(tokenizer, torch.Generator().manual_seed(seed))
    optimizer = torch.optim.Adam(tokenizer.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    progress = tqdm(range(steps), unit=' steps', mininterval=1)
    for step in progress:
        x = tokenizer.normalised(next(patches))[0]
        codes = tokenizer.encode(x)
        tokens = tokenizer.tokens(codes)
        entries = tokenizer.codebook[tokens]
        # Straight-through estimator: the decoder gets the entries, the encoder its gradient.
        error = mse_loss(tokenizer.decoder(codes + (entries - codes).detach()), x)
        distance = (codes - entries).square().sum(dim=1).mean()
        optimizer.zero_grad()
        (error + COMMITMENT * distance).backward()
        optimizer.step()
        schedule.step()
        codebook.update(codes.detach(), tokens, revive=step < REVIVE * steps)
        if step % 50 == 0:
            progress.set_postfix(error=f'{(error / x.square().mean()).item():.3f}')


@torch.no_grad()
def measure(tokenizer: PatchTokenizer, patches: Iterator[Tensor], batches: int = TEST) -> Quality:
    """Return the quality of a tokenizer on batches of patches (N, P*P*C)."""
    wrong, colour, total, number = 0.0, 0.0, 0.0, 0
    counts = torch.zeros(tokenizer.vocabulary, dtype=torch.float64)
    for _ in range(batches):
        x = tokenizer.normalised(next(patches))[0]
        tokens = tokenizer.tokens(tokenizer.encode(x))
        wrong += (tokenizer.decoder(tokenizer.codebook[tokens]) - x).square().sum().item()
        channels = x.unflatten(-1, (-1, tokenizer.settings['channels']))
        colour += (channels - channels.mean(dim=-2, keepdim=True)).square().sum().item()
        total += x.square().sum().item()
        counts += torch.bincount(tokens, minlength=len(counts)).cpu()
        number += len(tokens)
    entropy = torch.special.entr(counts / counts.sum()).sum()
    used = (counts > 0).double().mean().item()
    return Quality(wrong / total, colour / total, entropy.exp().item(), used, number)


def train_tokenizer(
    settings: Settings, say: Callable[[str], None] = print
) -> tuple[Quality, dict[str, str]]:
    """Train a tokenizer; write the file `settings.out` and a .json file with its quality.

    Args:
        say: function that is called with the summary of the settings before the training.

    Returns:
        The quality on crops that are drawn after the last step, and the unreadable images (path:
        reason).

    Raises:
        FileNotFoundError, ValueError: as in `Settings.check`.
        OSError: too many images are unreadable.
    """
    number = settings.check()
    say(settings.summary(number))
    crops = Crops(settings, number)
    patches = crops.patches()
    with undisturbed_rng():
        first = [next(patches) for _ in range(STATISTICS)]
        pixels = torch.cat(first).unflatten(-1, (-1, 3)).flatten(0, 1).double()
        torch.manual_seed(settings.seed)
        tokenizer = PatchTokenizer(
            settings.patch_size,
            3,
            settings.vocabulary,
            settings.code_dim,
            settings.hidden,
            mean=pixels.mean(dim=0).tolist(),
            std=pixels.std(dim=0).clamp(min=1e-3).tolist(),
        ).to(settings.device)
        fit(tokenizer, patches, settings.steps, settings.lr, settings.seed)
        quality = measure(tokenizer, patches)
    out = Path(settings.out)
    with atomic_write(out) as part:
        torch.save(tokenizer.checkpoint(), part)
    asked = {name: value for name, value in asdict(settings).items() if name != 'overwrite'}
    write_json(out.with_suffix('.json'), {**asked, **asdict(quality)})
    return quality, crops.unreadable


class Crops:
    """Source of patches from random crops of images.

    Attributes:
        unreadable: images that were replaced because they are unreadable (path: reason).
    """

    def __init__(self, settings: Settings, number: int):
        self.settings, self.number = settings, number
        self.unreadable: dict[str, str] = {}

    def patches(self) -> Iterator[Tensor]:
        """Yield an endless sequence of batches (N, P*P*3)."""
        settings = self.settings
        crop = dict(type='LoadRandomResizedCrop', scale=settings.size, crop_ratio_range=(0.2, 1.0))
        pack = dict(type='mmpretrain.PackInputs')
        dataset = UnlabelledImages(settings.images, [crop, pack])
        loader: DataLoader = DataLoader(
            dataset,
            settings.batch_size,
            sampler=InfiniteReplaySampler(dataset, shuffle=True, seed=settings.seed),
            num_workers=settings.workers,
            collate_fn=pseudo_collate,
        )
        for batch in loader:
            self._note(batch['data_samples'])
            images = torch.stack(batch['inputs']).to(settings.device).float()
            yield patch_view(images, settings.patch_size).flatten(0, 2).flatten(1)

    def _note(self, samples: list) -> None:
        for sample in samples:
            self.unreadable.update(sample.get('unreadable', {}))
        if len(self.unreadable) > MAX_UNREADABLE * self.number:
            names = '\n'.join(f'  {path}: {why}' for path, why in self.unreadable.items())
            raise OSError(
                f'{len(self.unreadable)} of {self.number} images are unreadable, more than the '
                f'share of {MAX_UNREADABLE}; repair or remove them:\n{names}'
            )
