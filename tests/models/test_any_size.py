"""Images of any size in one batch, windows of several sizes, masks of blocks."""

import math
from functools import partial

import pytest
import torch
from conftest import ROOT, randomised, tiny_lomar
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from processes import run_lomar

from lomar.models.patches import map_sizes
from lomar.models.windows import build_samplers, sample_blocks, sample_masked

SIZES = [(32, 64), (64, 64), (32, 64), (96, 40)]  # pixels; patches of 8, windows of 3 x 3
SEVERAL = dict(size=[3, 4], number=[2, 1], mask_ratio=[0.8, 0.5])


def mixed(sizes=SIZES):
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, *size, generator=generator) for size in sizes]


def draw(model, images):
    return model.draw(images, torch.Generator().manual_seed(2))


def losses(model, images, drawn):
    """Loss per window size; the prediction, too."""
    for sampler, (windows, masked) in zip(model.samplers, drawn, strict=True):
        prediction = model.predict(images, windows, masked, sampler.size)
        yield prediction, model.window_loss(images, prediction, windows, masked, sampler.size)


@pytest.mark.parametrize('windows', [{}, SEVERAL])
def test_mixed_sizes_are_as_each_image_alone(windows):
    model, images = randomised(tiny_lomar(windows=windows)).double(), mixed()
    images = [image.double() for image in images]
    drawn = draw(model, images)
    together = list(losses(model, images, drawn))
    alone = [
        list(losses(model, image[None], [(w[i, None], m[i, None]) for w, m in drawn]))
        for i, image in enumerate(images)
    ]
    for size, (prediction, loss) in enumerate(together):
        for i, own in enumerate(alone):
            torch.testing.assert_close(own[size][0][0], prediction[i])  # float64: 1e-7
        # Every image has the same number of masked patches.
        torch.testing.assert_close(loss, torch.stack([own[size][1] for own in alone]).mean())
    torch.manual_seed(5)
    loss = model(images, mode='loss')['loss']
    torch.manual_seed(5)
    drawn = model.draw(images)
    counts = torch.tensor([masked.sum() for _, masked in drawn])
    each = torch.stack([one for _, one in losses(model, images, drawn)])
    torch.testing.assert_close(loss, (each * counts).sum() / counts.sum())


def test_windows_lie_in_the_image_they_are_of():
    model = tiny_lomar(windows=dict(number=2))
    ((windows, _),) = draw(model, mixed())
    for (height, width), corners in zip(SIZES, windows, strict=True):
        assert (corners >= 0).all()
        assert (corners <= torch.tensor([height // 8 - 3, width // 8 - 3])).all()


def test_map_sizes_keeps_the_order():
    images = mixed()
    areas = map_sizes(lambda batch, x: batch[:, 0, 0, 0] + x, images, torch.arange(4.0))
    assert torch.equal(areas, torch.stack([im[0, 0, 0] + i for i, im in enumerate(images)]))


def test_a_wide_image():
    model = randomised(tiny_lomar(windows=dict(number=8)))
    image = torch.rand(1, 3, 512, 2048, generator=torch.Generator().manual_seed(0))
    loss = model(image, mode='loss')['loss']
    assert loss.isfinite()
    rows, columns = model.sample(image, torch.Generator().manual_seed(2))[0].unbind(-1)
    assert rows.max() <= 64 - 3 and 64 < columns.max() <= 256 - 3


def test_several_window_sizes():
    model = randomised(tiny_lomar(windows=SEVERAL))
    images = torch.rand(5, 3, 64, 64)
    windows, masked = zip(*draw(model, images), strict=True)
    assert [each.shape for each in windows] == [(5, 2, 2), (5, 1, 2)]
    assert [each.shape for each in masked] == [(5, 2, 9), (5, 1, 16)]
    assert [each.sum(-1).unique().item() for each in masked] == [7, 8]
    for method in (model.cut, model.predict, partial(model.window_loss, images)):
        arguments = (images, windows[0], masked[0])[: 2 if method == model.cut else 3]
        with pytest.raises(ValueError, match=r'several window sizes \(3, 4\); pass size='):
            method(*arguments)
    with pytest.raises(ValueError, match=r'several window sizes \(3, 4\); call draw'):
        model.sample(images)


def test_one_entry_is_one_size():
    torch.manual_seed(0)
    one = tiny_lomar()(torch.ones(2, 3, 64, 64), mode='loss')['loss']
    torch.manual_seed(0)
    listed = tiny_lomar(windows=dict(size=[3], number=[2]))
    assert torch.equal(listed(torch.ones(2, 3, 64, 64), mode='loss')['loss'], one)


def test_a_single_value_is_that_of_all_sizes():
    samplers = build_samplers(size=[7, 10], number=[4, 1], masking='block')
    assert [(s.size, s.number, s.mask_ratio, s.masking) for s in samplers] == [
        (7, 4, 0.8, 'block'),
        (10, 1, 0.8, 'block'),
    ]


@pytest.mark.parametrize(
    ('windows', 'message'),
    [
        (dict(size=[3, 4], number=[1]), r'windows\.size=\[3, 4\], windows\.number=\[1\]; allowed'),
        (dict(size=[]), r'windows\.size=\[\]; allowed: lists of one length'),
        (dict(size=[3, 9]), r'windows\.size is 9 patches, .* 8 x 8; allowed: 2 to 8'),
        (dict(masking='blocks'), r"windows\.masking is 'blocks'; allowed: random, block"),
    ],
)
def test_wrong_windows_name_the_key(windows, message):
    with pytest.raises(ValueError, match=message):
        tiny_lomar(windows=windows)


def test_an_unknown_target_is_named():
    head = dict(type='WindowHead', target=dict(type='Pixels'))
    with pytest.raises(ValueError, match=r"head\.target\.type is 'Pixels'; allowed: .*PixelTarget"):
        tiny_lomar(head=head)


def neighbours(masked, size):
    """Share of the pairs of neighbours of which both or neither are masked."""
    grid = masked.unflatten(-1, (size, size))
    down = grid[..., 1:, :] == grid[..., :-1, :]
    return down.float().mean()


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 10), st.floats(0.05, 0.95), st.integers(0, 2**31))
def test_blocks_mask_exactly_as_many(size, ratio, seed):
    count = min(max(1, int(size**2 * ratio)), size**2 - 1)
    generator = torch.Generator().manual_seed(seed)
    masked = sample_blocks(3, 2, size, count, generator=generator)
    assert masked.shape == (3, 2, size**2) and masked.dtype == torch.bool
    assert (masked.sum(-1) == count).all()
    again = sample_blocks(3, 2, size, count, generator=generator.manual_seed(seed))
    assert torch.equal(again, masked)


def test_blocks_are_blocks_and_lie_everywhere():
    generator = torch.Generator().manual_seed(0)
    arguments = (3000, 1, 7, 20)
    blocks = sample_blocks(*arguments, generator=generator)
    single = sample_masked(*arguments, generator=generator)
    # Of independent patches with 20 of 49 masked, 51 % of the neighbours are alike.
    assert math.isclose(neighbours(single, 7), 0.506, abs_tol=0.01)
    assert neighbours(blocks, 7) > 0.75
    share = blocks[:, 0].float().mean(0).view(7, 7)
    for turned in (share.flip(0), share.flip(1), share.T):  # no side is preferred
        # Six standard deviations of a difference of two shares.
        assert (share - turned).abs().max() < 6 * math.sqrt(2 * 0.25 / 3000)
    assert share.min() > 0.1  # corners have fewer blocks that cover them, as in BEiT


@pytest.mark.slow
def test_browse(photographs, tmp_path):
    config = ROOT / 'mmconfigs/shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes.py'

    def browse(*flags):
        out = ('--out', tmp_path / 'a.png', '--train-images', photographs)
        return run_lomar('browse', config, *out, *flags, cwd=tmp_path)

    windows = 'model.windows.size=[5,8]', 'model.windows.number=[2,1]'
    done = browse('--num-images', '2', '--cfg-options', *windows, 'model.windows.masking=block')
    assert done.returncode == 0 and 'WARNING' not in done.stderr + done.stdout, done.stderr
    with Image.open(tmp_path / 'a.png') as picture:
        # Two columns and two rows of 64 px, shown twice as large (160 / 64, rounded).
        assert picture.size == (2 * (64 * 2 + 6) + 6, 22 + 2 * (64 * 2 + 6))
    wrong = browse('--num-images', '0')
    assert wrong.returncode == 2 and '--num-images: 0 found; allowed: 1 or more' in wrong.stderr
