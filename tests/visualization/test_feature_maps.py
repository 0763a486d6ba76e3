"""Pictures of patch features: principal components, similarity, their scale and size."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from lomar.visualization import RunningPCA, patch_at, pca_picture, similarity, similarity_picture
from lomar.visualization import feature_maps as maps

RED = (255, 59, 48)


def features(*sizes, dim=12, offset=0.0):
    """Return patch features (dim, H, W) per size, with variances that differ by dimension."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.linalg.qr(torch.randn(dim, dim, generator=generator))[0] * torch.arange(
        1.0, dim + 1
    )
    drawn = [torch.randn(dim, height * width, generator=generator) for height, width in sizes]
    flat = [mix @ values + offset for values in drawn]
    return [each.view(dim, *size) for each, size in zip(flat, sizes, strict=True)]


def components(images):
    pca = RunningPCA(len(images))
    for image in images:
        pca.add(image)
    return pca.components()


def rows(images):
    return torch.cat([image.flatten(1).T for image in images]).double().numpy()


@pytest.mark.parametrize('offset', [0.0, 1000.0])
@pytest.mark.parametrize('sizes', [[(5, 7)], [(9, 9)] * 4, [(3, 20), (14, 14), (1, 2)]])
def test_the_components_are_those_of_scikit_learn(sizes, offset):
    images = features(*sizes, offset=offset)
    found, expected = components(images), PCA(3, svd_solver='full').fit(rows(images))
    signs = np.sign(np.take_along_axis(
        expected.components_, np.abs(expected.components_).argmax(1)[:, None], 1
    ))  # fmt: skip
    np.testing.assert_allclose(found.mean, expected.mean_, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.axes, expected.components_ * signs, atol=1e-6)
    values = expected.transform(rows(images)) * signs.T
    drawn = torch.cat([found.project(image).flatten(1).T for image in images])
    np.testing.assert_allclose(drawn, values, atol=1e-3 if offset else 1e-5)
    limits = np.quantile(values, maps.LIMITS, axis=0, method='nearest')
    np.testing.assert_allclose([found.low.numpy(), found.high.numpy()], limits, atol=1e-3)


def test_order_and_sign_are_the_same_for_images_in_another_order():
    images = features((8, 8), (6, 9), (10, 4))
    first, second = components(images), components(images[::-1])
    torch.testing.assert_close(first.axes, second.axes)
    torch.testing.assert_close(first.low, second.low)
    largest = first.axes.gather(1, first.axes.abs().argmax(1, keepdim=True))
    assert (largest > 0).all()
    spread = first.high - first.low
    assert spread[0] > spread[1] > spread[2]


def test_the_memory_is_bounded_by_a_sample(monkeypatch):
    """Percentiles of a sample are near those of all patches; the components are exact."""
    images = features(*[(40, 40)] * 8)
    whole = components(images)
    monkeypatch.setattr(maps, 'SAMPLE', 2000)
    sampled = components(images)
    torch.testing.assert_close(sampled.axes, whole.axes, atol=0, rtol=0)
    assert not torch.equal(sampled.low, whole.low)
    spread = whole.high - whole.low
    assert ((sampled.low - whole.low).abs() < spread / 10).all()
    pca = RunningPCA(8)
    pca.add(images[0])
    assert len(pca.sample[0]) == 250


def test_percentiles_become_black_and_white():
    (image,) = features((30, 30))
    found = components([image])
    shown = found.colours(found.project(image))
    for values, colours in zip(found.project(image), shown, strict=True):
        low, high = np.quantile(values, maps.LIMITS, method='nearest')
        assert (colours[values <= low] == 0).all() and (colours[values >= high] == 255).all()
        inside = (values > low) & (values < high)
        expected = (values[inside] - low) / (high - low) * 255
        np.testing.assert_allclose(colours[inside], expected, atol=0.51)


@pytest.mark.parametrize('varying', [0, 1, 2])
def test_a_component_without_variance_is_gray(varying):
    image = torch.ones(8, 6, 6)
    image[:varying] += torch.rand(varying, 6, 6, generator=torch.Generator().manual_seed(0))
    found = components([image])
    shown = found.colours(found.project(image))
    assert (shown[varying:] == 128).all()
    assert all(len(colour.unique()) > 10 for colour in shown[:varying])


def test_the_similarity_of_a_planted_patch():
    image = torch.zeros(4, 5, 6)
    image[0] = 2.0  # the background
    image[:2, 3, 4] = torch.tensor([3.0, 3.0])
    image[:, 0, 0] = torch.tensor([-1.0, 0, 0, 0])
    image[:, 1, 1] = torch.tensor([0.0, 0, 7, 0])
    image[:, 2, 2] = 0
    expected = torch.ones(5, 6).double()
    expected[3, 4], expected[0, 0], expected[1, 1], expected[2, 2] = 0.5**0.5, -1, 0, 0
    torch.testing.assert_close(similarity(image, 4, 5), expected)
    assert similarity(image * 100, 3, 4)[3, 4].item() == pytest.approx(1)


@pytest.mark.parametrize(
    ('at', 'grid', 'patch'),
    [
        ((0.5, 0.5), (14, 14), (7, 7)),
        ((0.5, 0.5), (3, 5), (1, 2)),
        ((0.0, 0.0), (3, 5), (0, 0)),
        ((1.0, 1.0), (3, 5), (2, 4)),
        ((0.99, 0.1), (3, 5), (0, 4)),
        ((0, 0), (3, 5), (0, 0)),
        ((79, 47), (3, 5), (2, 4)),
        ((1, 1), (3, 5), (0, 0)),  # pixels
        ((16, 0.5), (3, 5), (1, 1)),
        ((80, 0), (3, 5), None),
        ((0, 48), (3, 5), None),
    ],
)
def test_the_patch_at_a_position(at, grid, patch):
    if patch is None:
        with pytest.raises(ValueError, match='is outside of 80 x 48 pixels'):
            patch_at(at, grid, 16)
    else:
        assert patch_at(at, grid, 16) == patch


@pytest.mark.parametrize(
    ('channels', 'dtype', 'size', 'columns', 'side'),
    [
        (3, torch.uint8, (160, 240), 2, 240),
        (1, torch.uint8, (160, 240), 2, 240),
        (3, torch.float32, (160, 240), 1, 240),
        (5, torch.uint8, (160, 240), 1, 240),
        (3, torch.uint8, (32, 40), 2, 200),  # enlarged
        (3, torch.uint8, (1600, 800), 2, 512),  # shrunk to 1024 x 512
    ],
)
def test_the_map_is_as_large_as_the_image_beside_it(channels, dtype, size, columns, side):
    pixels = torch.full((channels, *size), 200).to(dtype)
    (patches,) = features((size[0] // 8, size[1] // 8))
    pictures = [
        pca_picture(pixels, patches, components([patches])),
        similarity_picture(pixels, patches, 1, 2),
    ]
    for picture in pictures:
        assert picture.width == columns * (side + 6) + 6
        shown = np.array(picture)[22:-6]
        assert shown.shape[0] == round(side * size[0] / size[1])
        assert (shown[-3:, 6 : 6 + side] == 200).all() == (columns == 2)
        assert len(np.unique(shown[:, -6 - side : -6].reshape(-1, 3), axis=0)) > 100
    red = (np.array(pictures[1]) == RED).all(-1)
    assert not (np.array(pictures[0]) == RED).all(-1).any()
    scale = side / size[1]  # patch (1, 2) has the pixels 8 to 15 in y and 16 to 23 in x
    rows, places = np.nonzero(red[22:-6, 6 : 6 + side])
    found = [rows.min(), rows.max() + 1, places.min(), places.max() + 1]
    expected = [8 * scale, 16 * scale, 16 * scale, 24 * scale]
    np.testing.assert_allclose(found, expected, atol=max(1, scale))
