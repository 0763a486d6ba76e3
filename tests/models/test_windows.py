"""Properties of the sampler and of the index arithmetic."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomar.models.patches import cut_patches, paste_patches, patch_coordinates
from lomar.models.windows import WindowSampler, masked_indices, sample_windows


@st.composite
def samplers(draw):
    size = draw(st.integers(2, 5))
    grid = draw(st.tuples(st.integers(size, 9), st.integers(size, 9)))
    sampling = draw(st.sampled_from(['image', 'batch']))
    rows, columns = grid[0] - size + 1, grid[1] - size + 1
    most = rows * columns if sampling == 'image' else min(rows, columns)
    count = draw(st.integers(1, size * size - 1))
    sampler = WindowSampler(size, draw(st.integers(1, most)), (count + 0.5) / size**2, sampling)
    assert sampler.num_masked == count
    return sampler, grid


@settings(deadline=None, max_examples=60)
@given(samplers(), st.integers(1, 6), st.integers(0, 2**31))
def test_sample(drawn, batch, seed):
    sampler, grid = drawn
    windows, masked = sampler(batch, grid, torch.Generator().manual_seed(seed))
    again = sampler(batch, grid, torch.Generator().manual_seed(seed))
    assert torch.equal(windows, again[0]) and torch.equal(masked, again[1])
    assert windows.shape == (batch, sampler.number, 2) and windows.dtype == torch.int64
    assert masked.shape == (batch, sampler.number, sampler.size**2)
    assert masked.dtype == torch.bool
    assert (masked.sum(-1) == sampler.num_masked).all()
    rows, columns = patch_coordinates(windows, sampler.size)
    assert rows.min() >= 0 and rows.max() < grid[0]
    assert columns.min() >= 0 and columns.max() < grid[1]
    if sampler.sampling == 'image':
        for image in windows.tolist():
            assert len({tuple(window) for window in image}) == sampler.number
    hidden = masked_indices(masked, sampler.num_masked)
    restored = torch.zeros_like(masked).scatter_(-1, hidden, True)
    assert torch.equal(restored, masked)


def test_windows_and_masks_are_uniform():
    # 12 positions of 3 x 3 windows in a 5 x 6 grid, two of them an image.
    generator = torch.Generator().manual_seed(0)
    windows, masked = WindowSampler(3, 2, 0.5)(6000, (5, 6), generator)
    counts = torch.bincount((windows[..., 0] * 4 + windows[..., 1]).flatten(), minlength=12)
    assert counts.sum() == 12000
    # Chi-square with 11 degrees of freedom exceeds 31.3 once in 1000 seeds; the seed is fixed.
    assert ((counts - 1000.0).square() / 1000).sum() < 31.3
    # Each of nine patches is masked in 4 of 9 windows; six standard deviations of a share.
    share = masked.float().mean(dim=(0, 1))
    assert (share - 4 / 9).abs().max() < 6 * (4 / 9 * 5 / 9 / 12000) ** 0.5


def test_every_image_draws_its_own_windows():
    windows = sample_windows(64, (14, 14), 7, 4, generator=torch.Generator().manual_seed(0))
    assert len({tuple(map(tuple, image)) for image in windows.tolist()}) == 64


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.sampled_from([1, 3]), st.sampled_from([2, 4]))
def test_cut_and_paste(seed, channels, patch_size):
    generator = torch.Generator().manual_seed(seed)
    height, width, size = 5, 7, 3
    images = torch.rand(2, channels, height * patch_size, width * patch_size, generator=generator)
    windows = sample_windows(2, (height, width), size, 2, generator=generator)
    patches = cut_patches(images, windows, size, patch_size)
    for n in range(2):
        for w, (row, column) in enumerate(windows[n].tolist()):
            for k in range(size * size):
                top = (row + k // size) * patch_size
                left = (column + k % size) * patch_size
                patch = images[n, :, top : top + patch_size, left : left + patch_size]
                # Pixel order within a patch: row, column, channel.
                assert torch.equal(patches[n, w, k], patch.permute(1, 2, 0).flatten())
    assert torch.equal(paste_patches(images, patches, windows, patch_size), images)
    black = paste_patches(images, torch.zeros_like(patches), windows, patch_size)
    assert not cut_patches(black, windows, size, patch_size).any()
    covered = len(
        {
            (n, int(r), int(c))
            for n in range(2)
            for r, c in zip(
                *(x[n].flatten() for x in patch_coordinates(windows, size)), strict=True
            )
        }
    )
    assert (black == 0).sum() == covered * channels * patch_size**2


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(size=9), r'windows\.size is 9 .* 8 x 8; allowed: 2 to 8'),
        (dict(size=7, number=5), r'windows\.number is 5, .* have 4 distinct .*allowed: 1 to 4'),
        (dict(size=7, number=3, sampling='batch'), r'windows\.number is 3, .* allowed: 1 to 2'),
        (dict(size=3, mask_ratio=0.1), r'windows\.mask_ratio is 0\.1: it masks 0 of the 9'),
        (dict(size=3, mask_ratio=1.0), r'windows\.mask_ratio is 1\.0: it masks 9 of the 9'),
        (dict(size=3, mask_ratio=-1), r'windows\.mask_ratio is -1'),
        (dict(size=1), r'windows\.size is 1; allowed: 2'),
        (dict(number=0), r'windows\.number is 0; allowed: 1'),
        (dict(sampling='images'), r"windows\.sampling is 'images'; allowed: image, batch"),
    ],
)
def test_wrong_settings_name_the_key(settings, message):
    with pytest.raises(ValueError, match=message):
        WindowSampler(**settings).check((8, 8))
