"""The contrast of reconstruction pictures."""

import pytest
import torch
from conftest import tiny_lomar
from mmengine.registry import MODELS

from lomar.models.patches import patch_view
from lomar.visualization import reconstruct
from lomar.visualization.reconstruction_hook import ReconstructionHook


def image(low, high, dtype=torch.uint8):
    """Return an image (1, 3, 64, 64) of random levels, from `low` to below `high`."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.rand(1, 3, 64, 64, generator=generator) * (high - low) + low
    return levels.to(dtype)


def drawn(pixels, mean=120.0, std=60.0):
    """Return the picture of each column of a row, (3, 64, 64) float32."""
    torch.manual_seed(0)
    model = tiny_lomar(windows=dict(number=1))
    normalization = dict(type='PretrainDataPreprocessor', mean=[mean] * 3, std=[std] * 3)
    model.data_preprocessor = MODELS.build(normalization)
    return {title: one.float() for title, one in reconstruct(model, pixels)[0].pictures.items()}


@pytest.mark.parametrize(
    ('low', 'high'),
    [(0, 256), (5, 200), (200, 220), (0, 131), (17, 18)],
    ids=['all', 'normal', 'bright', 'just-bright-enough', 'dark-but-one-level'],
)
def test_contrast_that_stays(low, high):
    pixels = image(low, high)
    assert torch.equal(drawn(pixels)['input'], pixels[0].float())


@pytest.mark.parametrize(('low', 'high'), [(5, 60), (0, 8), (60, 120)])
def test_the_contrast_of_a_dark_image_is_stretched(low, high):
    """Percentiles 1 and 99 become black and white, and pixels keep their order."""
    pixels = image(low, high)
    shown, levels = drawn(pixels)['input'], pixels[0].float()
    ends = levels.quantile(torch.tensor([0.01, 0.99]), interpolation='nearest')
    expected = ((levels - ends[0]) * 255 / (ends[1] - ends[0])).clamp(0, 255)
    assert (shown - expected).abs().max() <= 0.51
    assert shown.min() == 0 and shown.max() == 255


def test_other_dtypes_are_stretched_after_their_own_scaling():
    """16-bit levels far below the mean of the data are dark, too."""
    shown = drawn(image(1000, 3000, torch.int32), mean=20000.0, std=10000.0)['input']
    assert shown.min() == 0 and shown.max() == 255
    same = drawn(image(10000, 30000, torch.int32), mean=20000.0, std=10000.0)['input']
    assert 70 < same.min() < 80 and 175 < same.max() < 185  # 127.5 +- 51


def test_all_columns_of_a_row_are_stretched_alike():
    """Patches that are not masked are equal in the columns; 7 of 9 in the window are masked."""
    row = drawn(image(5, 60))
    assert list(row) == ['input', 'windows and masks', 'prediction', 'composite']
    patches = {title: patch_view(one[None], 8)[0].flatten(0, 1) for title, one in row.items()}
    for title in ('windows and masks', 'composite'):
        same = (patches[title] == patches['input']).flatten(1).all(1)
        assert same.sum() == 64 - 7
    assert torch.equal(patches['prediction'][~same], patches['composite'][~same])


@pytest.mark.parametrize('wrong', [dict(number=0), dict(number=-1), dict(interval=0)])
def test_a_hook_without_pictures_is_refused(wrong):
    with pytest.raises(ValueError, match=rf'ReconstructionHook.{next(iter(wrong))} is .*allowed'):
        ReconstructionHook(**wrong)
