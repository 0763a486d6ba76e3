"""Images in memory that `lomar.Encoder`, `lomar.Detector` and `lomar.Classifier` take or refuse."""

import numpy as np
import pytest
import torch
from PIL import Image
from trained import V01, noise

import lomar

KINDS = dict(
    Encoder='pretrain_lomar.pth', Detector='detector_lomar.pth', Classifier='classifier_lomar.pth'
)
RGB = noise(48, 64)
GREY = noise(48, 64, channels=1)
RGBA = np.concatenate([RGB, GREY], axis=2)
DEEP = noise(48, 64, dtype=np.uint16)


@pytest.fixture(scope='module')
def models():
    return {kind: getattr(lomar, kind)(V01 / file, device='cpu') for kind, file in KINDS.items()}


def result(model, images):
    """Return the numbers of all images, by which two calls are compared."""
    if isinstance(model, lomar.Encoder):
        return list(model(images).pooled.numpy())
    if isinstance(model, lomar.Detector):
        return [np.c_[found.boxes, found.scores] for found in model(images, threshold=0)]
    return [found.scores for found in model(images)]


SAME = {
    'array': (RGB, Image.fromarray(RGB)),
    'tensor': (torch.from_numpy(RGB).permute(2, 0, 1), Image.fromarray(RGB)),
    'grey array': (GREY[..., 0], Image.fromarray(GREY[..., 0])),
    'grey array with an axis': (GREY, Image.fromarray(GREY[..., 0])),
    'grey tensor': (torch.from_numpy(GREY).permute(2, 0, 1), Image.fromarray(GREY[..., 0])),
    'RGBA array': (RGBA, Image.fromarray(RGBA)),
    'RGBA tensor': (torch.from_numpy(RGBA).permute(2, 0, 1), Image.fromarray(RGBA)),
    'array of another order': (RGB[::-1, ::-1], Image.fromarray(RGB[::-1, ::-1].copy())),
    'palette': (Image.fromarray(RGB).quantize(9), Image.fromarray(RGB).quantize(9).convert('RGB')),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', SAME)
def test_equal_images(models, kind, name):
    one, other = (result(models[kind], [image]) for image in SAME[name])
    np.testing.assert_array_equal(one, other)


ARRAYS = '(H, W), (H, W, 3), (H, W, 4)'
TENSORS = '(1, H, W), (3, H, W), (4, H, W)'
RANGE = 'for other numbers, give value_range=(LOW, HIGH), the values of black and white'
REFUSED = {
    'None': (None, TypeError, 'an image is NoneType; allowed: paths, PIL images, arrays (H, W)'),
    'list': ([[1, 2]], TypeError, 'an image is list; allowed: paths'),
    'vector': (np.zeros(4), TypeError, 'an image is ndarray of shape (4,); allowed'),
    'tensor (H, W)': (torch.zeros(4, 4), TypeError, 'an image is Tensor of shape (4, 4); allowed'),
    'five channels': (noise(channels=5), ValueError, f'(50, 80, 5); allowed: {ARRAYS}'),
    'two channels': (noise(channels=2), ValueError, 'an array has the shape (50, 80, 2); all'),
    'array (C, H, W)': (RGB.transpose(2, 0, 1), ValueError,
                        f'an array has the shape (3, 48, 64); allowed: {ARRAYS}; image.transpose('
                        '1, 2, 0) moves the channels there'),
    'tensor (H, W, C)': (torch.from_numpy(RGB), ValueError,
                         f'a tensor has the shape (48, 64, 3); allowed: {TENSORS}; image.permute('
                         '2, 0, 1) moves the channels there'),
    'float array': (RGB / 255, ValueError, f'array is float64; allowed: uint8, 0 to 255; {RANGE}'),
    'float tensor': (torch.zeros(3, 8, 8), ValueError, 'a tensor is torch.float32; allowed: uint8'),
    'bfloat16': (torch.zeros(3, 8, 8).bfloat16(), ValueError, 'tensor is torch.bfloat16; allowed'),
    '16 bits': (DEEP, ValueError, f'an array is uint16; allowed: uint8, 0 to 255; {RANGE}'),
    'RGBA of 16 bits': (noise(channels=4, dtype=np.uint16), ValueError, '(50, 80, 4); allowed'),
    'bool': (RGB > 9, ValueError, 'an array is bool; allowed: uint8'),
    'text': (np.array([['a']]), ValueError, 'an array is <U1; allowed: uint8'),
    'PIL of floats': (Image.fromarray(GREY[..., 0].astype(np.float32)), ValueError,
                      f'pixels are float32, whose range is unknown; {RANGE}'),
    '0 x 0': (np.zeros((0, 0, 3), np.uint8), ValueError, 'array of shape (0, 0, 3) has no pixels'),
    '0 x 0 grey': (np.zeros((0, 0), np.uint8), ValueError, 'array of shape (0, 0) has no pixels'),
    'no rows': (np.zeros((0, 8, 3), np.uint8), ValueError, '(0, 8, 3) has no pixels'),
    'no channels': (np.zeros((8, 8, 0), np.uint8), ValueError, '(8, 8, 0) has no pixels'),
    'empty tensor': (torch.zeros(3, 0, 8, dtype=torch.uint8), ValueError,
                     'a tensor of shape (3, 0, 8) has no pixels'),
    'empty PIL': (Image.new('RGB', (0, 4)), ValueError,
                  'a PIL image of (width, height) = (0, 4) has no pixels'),
    'one array': (RGB, TypeError, 'images is a single ndarray; allowed: a list of them'),
    'one path': ('a.png', TypeError, 'images is a single str; allowed: a list of them'),
}  # fmt: skip


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', REFUSED)
def test_refused_images(models, kind, name):
    image, error, message = REFUSED[name]
    images = image if name.startswith('one') else [image]
    with pytest.raises(error) as raised:
        models[kind](images)
    said = str(raised.value)
    assert message in said and '\n' not in said
    assert not any(word in said for word in ('backbone', 'pipeline', 'config', '--'))


@pytest.mark.parametrize('kind', KINDS)
def test_16_bits_with_a_range(kind):
    model = getattr(lomar, kind)(V01 / KINDS[kind], device='cpu', value_range=(0, 4095))
    eight = (DEEP.astype(float) * 255 / 4095).astype(np.uint8)
    images = [DEEP, torch.from_numpy(DEEP.astype(np.int32)).permute(2, 0, 1)]
    deep, tensor, expected = result(model, [*images, Image.fromarray(eight)])
    np.testing.assert_array_equal(deep, expected)
    np.testing.assert_array_equal(tensor, expected)


@pytest.mark.parametrize('images', [[], (), iter(())], ids=['list', 'tuple', 'iterator'])
def test_no_images(models, images):
    assert models['Detector'](images) == [] and models['Classifier'](images) == []
    found = models['Encoder'](images)
    assert found.pooled.shape == (0, 16) and found.pooled.dtype == torch.float32
    assert len(found.patches) == 0
    assert models['Encoder'](images, patches=False).patches is None
