"""Tiles of a large image, their objects in its coordinates, and the merging of the objects."""

import numpy as np
import pytest
from pycocotools import mask as coco

from lomar.detection.run_lengths import clipped, ends_of_rle, placed_rle, sampled
from lomar.detection.tile_merging import merge_tiles, shift_objects
from lomar.detection.tiles import shared_places, tile_places


@pytest.mark.parametrize(
    ('side', 'tile', 'overlap', 'starts'),
    [
        (1000, 1000, 128, [0]),
        (300, 1000, 128, [0]),  # smaller than a tile
        (1, 1000, 128, [0]),
        (1001, 1000, 128, [0, 1]),
        (1872, 1000, 128, [0, 872]),  # fits
        (2000, 1000, 128, [0, 872, 1000]),  # the last tile is moved inward
        (2000, 1000, 0, [0, 1000]),
        (2001, 1000, 0, [0, 1000, 1001]),
        (10, 4, 3, [0, 1, 2, 3, 4, 5, 6]),
        (3, 1, 0, [0, 1, 2]),
    ],
)
def test_places(side, tile, overlap, starts):
    size = min(side, tile)
    assert tile_places(side, 5, tile, overlap)[:: len(tile_places(1, 5, tile, overlap))] == [
        (start, 0, size, min(5, tile)) for start in starts
    ]
    whole = np.zeros((side, 2 * side), int)
    for top, left, height, width in tile_places(*whole.shape, tile, overlap):
        assert (height, width) == (size, min(2 * side, tile))
        whole[top : top + height, left : left + width] += 1
    assert whole.min() == 1


def test_places_of_numbers_of_numpy():
    assert tile_places(1000, 900, np.uint8(200), np.int8(20)) == tile_places(1000, 900, 200, 20)


@pytest.mark.parametrize(
    ('tile', 'overlap', 'message'),
    [
        (100, 100, 'overlap is 100 and the tile 100 pixels; allowed: an overlap smaller'),
        (100, 101, 'an overlap smaller than a tile'),
        (0, 0, 'tile is 0; allowed: 1 or more'),
        (100, -1, 'overlap is -1; allowed: 0 or more'),
    ],
)
def test_impossible_tiles(tile, overlap, message):
    with pytest.raises(ValueError, match=message):
        tile_places(200, 200, tile, overlap)


@pytest.mark.parametrize('overlap', [0, 3, 7])
def test_shared_places(overlap):
    """Every pair of tiles that have pixels in common is found once."""
    places = tile_places(33, 27, 10, overlap)

    def pixels(top, left, height, width):
        return {(row, col) for row in range(top, top + height) for col in range(left, left + width)}

    sets = [pixels(*place) for place in places]
    expected = {
        (a, b): sets[a] & sets[b]
        for a in range(len(sets))
        for b in range(a + 1, len(sets))
        if sets[a] & sets[b]
    }
    found = {(a, b): pixels(*shared) for a, b, shared in shared_places(places)}
    assert found == expected


def random_mask(rng):
    """A mask, its place, and the bitmap of an image in which it lies there."""
    size = rng.integers(1, 20, 2)
    sides = [rng.integers(1, side + 1) for side in size]
    top, left = (rng.integers(0, a - b + 1) for a, b in zip(size, sides, strict=True))
    mask = rng.random(sides) < rng.choice([0, 0.1, 0.5, 0.9, 1])
    bitmap = np.zeros(size, bool)
    bitmap[top : top + sides[0], left : left + sides[1]] = mask
    return mask, top, left, bitmap


def test_run_lengths():
    """RLE of a part is pycocotools' RLE of the whole; any pixels can be decoded from it."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        mask, top, left, bitmap = random_mask(rng)
        rle = placed_rle(mask, top, left, *bitmap.shape)
        expected = coco.encode(np.asfortranarray(bitmap, np.uint8))
        assert rle == {**expected, 'counts': expected['counts'].decode()}
        assert ends_of_rle(rle)[-1] == bitmap.size
        rows, columns = (rng.integers(0, side, 7) for side in bitmap.shape)
        assert np.array_equal(sampled(rle, rows, columns), bitmap[np.ix_(rows, columns)])
        (part,) = clipped([rle], top, left, *mask.shape)
        assert part == rle  # all of the mask lies within its own place


def test_run_lengths_of_a_huge_image():
    """Numbers of more than 31 bits, and differences of either sign."""
    mask = np.zeros((900, 700), bool)
    mask[100:200, :300] = mask[700:705, 50:] = True
    height, width, top, left = 65000, 66000, 64100, 65300
    rle = placed_rle(mask, top, left, height, width)
    assert coco.area(rle) == mask.sum() and len(rle['counts']) < 10_000
    assert coco.toBbox(rle).tolist() == [left, top + 100, 700, 605]
    again = sampled(rle, np.arange(900) + top, np.arange(700) + left)
    assert np.array_equal(again, mask)
    with pytest.raises(ValueError, match='at most 4294967295 pixels'):
        placed_rle(mask, 0, 0, 65536, 65536)


def bitmap_of(box, height, width):
    left, top, right, bottom = box
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


def detect(planted, places, size, masks, kept=lambda tile, index: True):
    """The objects that a perfect detector finds in each tile: planted ones, cut at its borders.

    Args:
        planted: (box in the image, label, score) of each object; a score for each tile, or one.
        kept: whether the detector finds an object in a tile.
    """
    found = []
    for tile, (top, left, height, width) in enumerate(places):
        boxes, scores, labels, bitmaps = [], [], [], []
        for index, (box, label, score) in enumerate(planted):
            low = np.clip(np.array(box) - [left, top] * 2, 0, [width, height] * 2)
            if (low[:2] < low[2:]).all() and kept(tile, index):
                boxes.append(low)
                scores.append(score[tile] if isinstance(score, list) else score)
                labels.append(label)
                bitmaps.append(bitmap_of(low, height, width))
        found.append(
            shift_objects(
                (top, left, height, width),
                size,
                np.array(boxes, np.float32).reshape(-1, 4),
                np.array(scores, np.float32),
                np.array(labels, np.int64),
                np.array(bitmaps).reshape(-1, height, width) if masks else None,
            )
        )
    return found


def check(objects, expected, size, masks):
    """Compare with (box, label, score) in decreasing order of score."""
    assert objects.boxes.tolist() == [list(box) for box, _, _ in expected]
    assert objects.labels.tolist() == [label for _, label, _ in expected]
    assert objects.scores == pytest.approx([score for _, _, score in expected])
    if not masks:
        assert objects.masks is None
        return
    for rle, (box, _, _) in zip(objects.masks, expected, strict=True):
        assert np.array_equal(coco.decode(rle), bitmap_of(box, *size))


# Tiles of 100 with an overlap of 20 in an image of 180 x 260: columns 0, 80, 160, rows 0, 80.
PLANTED = dict(
    inside=[((10, 20, 30, 50), 0, 0.9)],
    whole_in_the_overlap=[((82, 20, 98, 50), 0, 0.9)],
    cut_by_a_border=[((70, 20, 95, 50), 0, 0.9)],
    cut_by_two_borders=[((75, 20, 110, 50), 0, 0.9)],
    a_pixel_beyond_a_border=[((60, 20, 81, 50), 0, 0.9)],
    ends_at_a_border=[((60, 20, 100, 50), 0, 0.9), ((80, 60, 120, 75), 0, 0.8)],
    larger_than_a_tile=[((5, 5, 255, 60), 0, 0.9)],
    larger_than_a_tile_both_ways=[((5, 5, 255, 175), 0, 0.9)],
    whole_image=[((0, 0, 260, 180), 0, 0.9)],
    in_four_tiles=[((82, 82, 98, 98), 0, 0.9)],
    across_four_tiles=[((60, 60, 120, 120), 0, 0.9)],
    touching=[((70, 20, 90, 50), 0, 0.9), ((90, 20, 110, 50), 0, 0.8)],
    touching_in_four_tiles=[((82, 82, 90, 98), 0, 0.9), ((90, 82, 98, 98), 0, 0.8)],
    touching_at_a_border=[((60, 20, 80, 50), 0, 0.9), ((80, 20, 100, 50), 0, 0.8)],
    nested=[((70, 20, 110, 60), 0, 0.9), ((82, 30, 92, 40), 0, 0.8)],
    two_classes_at_one_place=[((70, 20, 95, 50), 0, 0.9), ((70, 20, 95, 50), 1, 0.8)],
    rows_of_neighbours=[
        ((x, y, x + 9, y + 9), 0, 0.9 - 0.01 * i)
        for i, (y, x) in enumerate((y, x) for y in range(60, 120, 10) for x in range(60, 200, 10))
    ],
    nothing=[],
)


@pytest.mark.parametrize('masks', [True, False], ids=['masks', 'boxes'])
@pytest.mark.parametrize('kind', PLANTED)
def test_merging(kind, masks):
    """Planted objects are found once, in their full size."""
    size, planted = (180, 260), PLANTED[kind]
    places = tile_places(*size, 100, 20)
    found = detect(planted, places, size, masks)
    if len(planted) > 1 or kind not in ('inside', 'nothing'):
        assert sum(map(len, found)) > len(planted)  # there is something to merge
    check(merge_tiles(places, found), planted, size, masks)


@pytest.mark.parametrize('masks', [True, False], ids=['masks', 'boxes'])
@pytest.mark.parametrize(
    ('size', 'tile', 'overlap'),
    [((90, 70), 100, 20), ((100, 100), 100, 0), ((101, 230), 100, 80), ((77, 151), 50, 30)],
)
def test_merging_of_other_sizes(size, tile, overlap, masks):
    height, width = size
    planted = [((1, 1, width - 1, height // 2), 0, 0.9), ((3, height // 2, 40, height), 0, 0.8)]
    places = tile_places(*size, tile, overlap)
    check(merge_tiles(places, detect(planted, places, size, masks)), planted, size, masks)


def test_no_overlap():
    """Without an overlap nothing shows that two parts are one object: both stay."""
    size, places = (100, 200), tile_places(100, 200, 100, 0)
    found = detect([((80, 20, 130, 50), 0, 0.9)], places, size, True)
    parts = [((80, 20, 100, 50), 0, 0.9), ((100, 20, 130, 50), 0, 0.9)]
    check(merge_tiles(places, found), parts, size, True)


def test_object_that_one_tile_misses():
    """An object in the overlap that only one of the tiles finds stays."""
    size, places = (100, 180), tile_places(100, 180, 100, 20)
    planted = [((82, 20, 98, 50), 0, 0.9)]
    for missing in (0, 1):
        found = detect(planted, places, size, True, lambda tile, index, no=missing: tile != no)
        check(merge_tiles(places, found), planted, size, True)


def test_kept_object():
    """The part of an object that a tile shows gives way to the whole, whatever its score."""
    size, places = (100, 180), tile_places(100, 180, 100, 20)
    cut, seen_twice = ((85, 20, 120, 50), 0, [0.9, 0.5]), ((82, 60, 98, 90), 0, [0.4, 0.6])
    long = ((10, 5, 170, 15), 0, [0.3, 0.7])
    found = detect([cut, seen_twice, long], places, size, True)
    # The long object lies in no tile as a whole, and gets the highest score of its parts.
    expected = [(long[0], 0, 0.7), (seen_twice[0], 0, 0.6), (cut[0], 0, 0.5)]
    check(merge_tiles(places, found), expected, size, True)


def test_objects_of_one_tile_are_never_joined():
    """A tile that sees two objects as one cannot join what another tile holds apart."""
    size, places = (100, 180), tile_places(100, 180, 100, 20)
    (apart, _), (_, blob) = (
        detect(planted, places, size, False)
        for planted in (
            [((80, 20, 90, 50), 0, 0.9), ((90, 20, 99, 50), 0, 0.8)],
            [((80, 20, 99, 50), 0, 0.7)],
        )
    )
    objects = merge_tiles(places, [apart, blob])
    assert len(objects) == 2 and objects.scores.tolist() == pytest.approx([0.9, 0.8])
