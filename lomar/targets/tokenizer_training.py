"""Training of a `PatchTokenizer` as a VQ-VAE (arXiv 1711.00937)."""

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
from lomar.datasets.unlabelled import FILES
from lomar.models.patches import patch_view
from lomar.targets.tokenizer import PatchTokenizer
from lomar.targets.tokenizer_settings import Settings
from lomar.utils import atomic_write, check_device, check_new, undisturbed_rng, write_json

DECAY = 0.9  # decay of the moving averages in the codebook
DEAD = 0.03  # entries with less than this fraction of an even share are replaced by a patch
# Weight of the encoder's distance to the codebook. With VQ-VAE's 0.25, tokens of 8 px patches
# encoded only the color.
COMMITMENT = 0.01
REVIVE = 0.8  # fraction of the steps in which unused entries are replaced
STATISTICS, TEST = 8, 16  # batches for mean and standard deviation, and for the evaluation
MAX_UNREADABLE = 0.05  # fraction of the images, as in `UnreadableImagesHook`


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


def fit(tokenizer: PatchTokenizer, patches: Iterator[Tensor], settings: Settings) -> None:
    """Train a tokenizer on batches of patches (N, P*P*C) with the pixel values of the files."""
    steps = settings.steps
    codebook = Codebook(tokenizer, torch.Generator().manual_seed(settings.seed))
    optimizer = torch.optim.Adam(tokenizer.parameters(), settings.lr)
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
        say: called with a summary before the training starts.

    Returns:
        The quality on crops that are drawn after the last step, and the unreadable images (path:
        reason).

    Raises:
        FileNotFoundError: there are no images.
        OSError: none or not enough images can be read.
        ValueError: the device is missing, or the file cannot be written.
    """
    number, out = _check(settings), Path(settings.out)
    per_step = settings.batch_size * (settings.size // settings.patch_size) ** 2
    say(
        f'{number} images in {settings.images}\n'
        f'{settings.vocabulary} tokens for patches of {settings.patch_size} px, from crops of '
        f'{settings.size} px\n'
        f'{settings.steps} steps of {per_step} patches on {settings.device}, seed {settings.seed}'
    )
    unreadable: dict[str, str] = {}
    patches = draw_patches(settings, unreadable)
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
        fit(tokenizer, patches, settings)
        quality = measure(tokenizer, patches)
    with atomic_write(out) as part:
        torch.save(tokenizer.checkpoint(), part)
    asked = {name: value for name, value in asdict(settings).items() if name != 'overwrite'}
    write_json(out.with_suffix('.json'), {**asked, **asdict(quality)})
    return quality, unreadable


def _check(settings: Settings) -> int:
    """Return the number of images; errors are those of `train_tokenizer`."""
    check_device(settings.device)
    out = Path(settings.out)
    if out.suffix != '.pth':
        raise ValueError(f'--out is {out}; allowed: a file that ends in .pth')
    check_new('--out', out, out.with_suffix('.json'), overwrite=settings.overwrite)
    paths, images = list_images(settings.images, advice=FILES), settings.images
    if not any(map(is_readable, paths)):
        raise OSError(f'--images: none of the {len(paths)} files in {images} can be read')
    return len(paths)


def draw_patches(settings: Settings, unreadable: dict[str, str]) -> Iterator[Tensor]:
    """Yield the patches (N, P*P*3) of batches of random crops without end.

    Args:
        unreadable: gets the images that were replaced by others (path: reason).
    """
    crop = dict(type='LoadRandomResizedCrop', scale=settings.size, crop_ratio_range=(0.2, 1.0))
    dataset = UnlabelledImages(settings.images, [crop, dict(type='mmpretrain.PackInputs')])
    loader: DataLoader = DataLoader(
        dataset,
        settings.batch_size,
        sampler=InfiniteReplaySampler(dataset, shuffle=True, seed=settings.seed),
        num_workers=settings.workers,
        collate_fn=pseudo_collate,
    )
    for batch in loader:
        for sample in batch['data_samples']:
            unreadable.update(sample.get('unreadable', {}))
        if len(unreadable) > MAX_UNREADABLE * len(dataset):
            names = '\n'.join(f'  {path}: {why}' for path, why in unreadable.items())
            raise OSError(
                f'{len(unreadable)} of {len(dataset)} images are unreadable, more than the '
                f'share of {MAX_UNREADABLE}; repair or remove them:\n{names}'
            )
        images = torch.stack(batch['inputs']).to(settings.device).float()
        yield patch_view(images, settings.patch_size).flatten(0, 2).flatten(1)
