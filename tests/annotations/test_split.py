"""`lomar split`: every image in one part, similar shares of every class, groups together."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lomar.annotations import split_coco, split_notes
from lomar.cli import main


def coco_of(classes_of_images, names=None):
    """Return a COCO file with an image for each list of category ids."""
    images, annotations = [], []
    for number, classes in enumerate(classes_of_images, 10):
        name = names[number - 10] if names else f'{number}.png'
        images.append(dict(id=number, file_name=name, width=40, height=30, license=3))
        annotations += [
            dict(id=number * 100 + index, image_id=number, category_id=key, bbox=[1, 2, 8, 9])
            for index, key in enumerate(classes)
        ]
    categories = [dict(id=key, name=name) for key, name in ((7, 'nut'), (3, 'bolt'), (5, 'ring'))]
    licenses = [dict(id=3, name='CC BY')]
    return dict(
        info={}, images=images, annotations=annotations, categories=categories, licenses=licenses
    )


def write(folder, coco):
    path = folder / 'all.json'
    path.write_text(coco if isinstance(coco, str) else json.dumps(coco))
    return path


@settings(max_examples=30, deadline=None)
@given(
    classes=st.lists(st.lists(st.sampled_from((3, 5, 7)), max_size=4), min_size=12, max_size=25),
    seed=st.integers(0, 3),
)
def test_every_entry_is_in_one_part(classes, seed, tmp_path_factory):
    coco = coco_of(classes)
    path = write(tmp_path_factory.mktemp('split'), coco)
    parts = split_coco(path, (0.5, 0.3, 0.2), seed)
    assert parts == split_coco(path, (0.5, 0.3, 0.2), seed) and [*parts] == ['train', 'val', 'test']
    for key in ('images', 'annotations'):
        found = [one for part in parts.values() for one in part[key]]
        assert sorted(found, key=lambda one: one['id']) == coco[key]
    for part in parts.values():
        assert {**part, 'images': 0, 'annotations': 0} == {**coco, 'images': 0, 'annotations': 0}
        ids = [one['id'] for one in part['images']]
        assert ids == sorted(ids) and {one['image_id'] for one in part['annotations']} <= set(ids)


def test_shares_of_classes(tmp_path):
    """A rare class, and images with many objects, are shared as the images are."""
    classes = [[3] * (1 + number % 5) for number in range(90)] + [[3, 7]] * 10 + [[5] * 4, [5]] * 5
    path = write(tmp_path, coco_of([*classes, *[[]] * 10]))
    for seed in range(5):
        val = split_coco(path, (0.8, 0.2), seed)['val']
        found = [one['category_id'] for one in val['annotations']]
        assert len(val['images']) == 24
        assert found.count(3) == pytest.approx(280 * 0.2, abs=3)
        assert found.count(7) == 2 and found.count(5) == pytest.approx(5, abs=1)
        assert 10 - 3 <= sum(not classes for classes in [[]] * 10) <= 10


CLASSES = (3, 5, 7)
SHARES = {
    # Class ids of each image, fractions, groups by number, and the images of each part.
    'many classes': ([[number % 3 * 2 + 3] * (number % 7) for number in range(158)],
                     (0.7, 0.2, 0.1), None, (110, 32, 16)),
    'one image has all objects': ([CLASSES * 30] + [[]] * 19, (0.8, 0.2), None, (16, 4)),
    'few images have most objects': ([[3, 5] * 40] * 4 + [[7]] * 16, (0.5, 0.5), None, (10, 10)),
    'no objects': ([[]] * 21, (0.7, 0.3), None, (15, 6)),
    'a class per image': ([[key] for key in CLASSES], (0.7, 0.3), None, (2, 1)),
    'thirds': ([[3]] * 10, (1 / 3, 1 / 3, 1 / 3), None, (4, 3, 3)),
    'pairs': ([[3]] * 20, (0.7, 0.3), lambda number: number // 2, (14, 6)),
    'groups of several sizes': ([[3]] * 20, (0.7, 0.3), lambda number: number ** 2 // 40, None),
}  # fmt: skip


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('name', SHARES)
def test_shares_of_images(name, seed, tmp_path):
    """They are within one image of the fractions, or with groups within the largest group."""
    classes, fractions, group, expected = SHARES[name]
    names = [
        f'g{group(number) if group else number}_{number}.png' for number in range(len(classes))
    ]
    path = write(tmp_path, coco_of([list(keys) for keys in classes], names))
    parts = split_coco(path, fractions, seed, r'^g(\d+)_')
    found = tuple(len(part['images']) for part in parts.values())
    assert expected in (None, found)
    largest = max(Counter(name.partition('_')[0] for name in names).values())
    for number, share in zip(found, fractions, strict=True):
        assert abs(number - share * len(classes)) <= largest


NOTES = {
    'all parts have all classes': ([[3, 7]] * 10, []),
    'a single object': ([[3]] * 8 + [[3, 7]],
                        ['val has no objects of 1 of 2 classes, without AP']),
    'a class that no image has': ([[3, 5, 7]] * 3 + [[3]] * 7, None),
    'crowds': ([[3]] * 10, []),
}  # fmt: skip


@pytest.mark.parametrize('name', NOTES)
def test_notes_on_classes(name, tmp_path, capsys):
    classes, expected = NOTES[name]
    path = write(tmp_path, coco_of(classes))
    assert main(['split', str(path), '--out', str(tmp_path / 'out')]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith('Note: ')]
    if expected is not None:
        assert len(notes) == len(expected)
        assert all(one in note for one, note in zip(expected, notes, strict=True))


def test_names_of_classes_stay_in_their_line(tmp_path, capsys):
    coco = coco_of([[3]] * 9 + [[7]])
    coco['categories'][0]['name'] = 'a\nb'
    assert main(['split', str(write(tmp_path, coco)), '--out', str(tmp_path / 'out')]) == 0
    assert '\n  a\\nb ' in (said := capsys.readouterr().out) and ': a\\nb\n' in said


def test_a_note_names_the_classes():
    def part(*keys):
        categories = [dict(id=key, name=f'c{key}') for key in range(20)]
        annotations = [dict(image_id=1, category_id=key, iscrowd=0) for key in keys]
        crowd = [dict(image_id=1, category_id=19, iscrowd=1)]
        return dict(images=[dict(id=1)], annotations=annotations + crowd, categories=categories)

    notes = split_notes(dict(train=part(*range(1, 18)), val=part(0, 1)))
    listed = ', '.join(f'c{key}' for key in range(2, 12))
    assert notes == [
        'train has no objects of 1 of 18 classes, without training: c0',
        f'val has no objects of 16 of 18 classes, without AP there: {listed} and 6 more',
    ]


def test_another_seed_is_another_split(tmp_path):
    path = write(tmp_path, coco_of([[3]] * 40))
    found = {
        tuple(one['id'] for one in split_coco(path, (0.5, 0.5), seed)['val']['images'])
        for seed in range(4)
    }
    assert len(found) == 4


def test_groups_stay_together(tmp_path):
    names = [f'p{number % 7}/slide_{number}.png' for number in range(35)]
    path = write(tmp_path, coco_of([[3, 5]] * 35, names))
    parts = split_coco(path, (0.7, 0.3), group=r'^p(\d)/')
    train, val = ({one['file_name'][:2] for one in part['images']} for part in parts.values())
    assert not train & val and len(train) == 5 and len(val) == 2
    with pytest.raises(ValueError, match=r"images\[0\]: --group 'x\(\.\)' is not found in p0/slid"):
        split_coco(path, (0.7, 0.3), group='x(.)')


def test_images_of_one_file_stay_together(tmp_path):
    path = write(tmp_path, coco_of([[3]] * 8, ['a.png', 'b.png', 'c.png', 'd.png'] * 2))
    for seed in range(3):
        parts = split_coco(path, (0.5, 0.5), seed)
        train, val = ({one['file_name'] for one in part['images']} for part in parts.values())
        assert not train & val


def broken(change):
    coco = coco_of([[3]] * 4)
    change(coco)
    return coco


@pytest.mark.parametrize(
    ('coco', 'fractions', 'message'),
    [
        (coco_of([[3]]), (0.8, 0.2), 'val would have no image: 1 groups of images for the'),
        (coco_of([]), (0.8, 0.2), 'all.json has no images'),
        ('[]', (0.8, 0.2), "no list 'images'"),
        ('{', (0.8, 0.2), 'this is no json'),
        (broken(lambda c: c['images'].append(c['images'][0])), (0.5, 0.5), 'images[4] has the id'),
        (
            broken(lambda c: c['categories'].append(c['categories'][0])),
            (0.5, 0.5),
            'of another category; see lomar check',
        ),
        (
            broken(lambda c: c['categories'].append({**c['categories'][0], 'id': 99})),
            (0.5, 0.5),
            'categories[3] has the name nut of another category; see lomar check',
        ),
        (broken(lambda c: c['images'].append(3)), (0.5, 0.5), 'images[4] needs an id and a file_n'),
        (broken(lambda c: c['images'][1].pop('file_name')), (0.5, 0.5), 'images[1] needs an id'),
        (
            broken(lambda c: c['annotations'][2].update(image_id=99)),
            (0.5, 0.5),
            'annotations[2] is on no image, or of no category',
        ),
        (
            broken(lambda c: c['annotations'][2].update(category_id=[])),
            (0.5, 0.5),
            'annotations[2] is on no image, or of no category',
        ),
    ],
)
def test_files_that_cannot_be_split(coco, fractions, message, tmp_path):
    with pytest.raises(ValueError) as raised:
        split_coco(write(tmp_path, coco), fractions)
    assert message in str(raised.value)


def test_command(tmp_path, capsys):
    path = write(tmp_path, coco_of([[3, 7]] * 10))
    line = ['split', str(path), '--out', str(tmp_path / 'out'), '--fractions', '.6', '.2', '.2']
    assert main(line) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ['train', 'share', 'val', 'share', 'test', 'share']
    assert table[1].split() == ['images', '6', '60.0%', '2', '20.0%', '2', '20.0%']
    assert (
        '  nut                              6    60.0%         2    20.0%         2    20.0%'
        in table
    )
    assert not any(line.startswith('Note') for line in table)
    numbers = [
        len(json.loads((tmp_path / f'out/{name}.json').read_text())['images'])
        for name in ('train', 'val', 'test')
    ]
    assert numbers == [6, 2, 2]
    assert main(line) == 1 and '--overwrite replaces it' in capsys.readouterr().err
    assert main([*line, '--overwrite']) == 0


@pytest.mark.parametrize(
    ('flags', 'code', 'message'),
    [
        ('--fractions 0.8', 1, 'fractions are 0.8; allowed: 2 or 3 numbers above 0 with the sum 1'),
        ('--fractions 0.8 0.3', 1, 'fractions are 0.8 0.3; allowed'),
        ('--fractions 1.2 -0.2', 1, 'fractions are 1.2 -0.2; allowed'),
        ('--fractions nan 0.5', 1, 'fractions are nan 0.5; allowed'),
        ('--val 0', 1, 'fractions are 1 0; allowed'),
        ('--val 0.2 --fractions 0.5 0.5', 2, 'not allowed with argument'),
        ('--group (', 1, "--group '(' is no regular expression: "),
    ],
)
def test_wrong_flags(flags, code, message, tmp_path, capsys):
    path = write(tmp_path, coco_of([[3]] * 10))
    try:
        found = main(['split', str(path), '--out', str(tmp_path), *flags.split()])
    except SystemExit as stopped:
        found = stopped.code
    assert found == code and message in capsys.readouterr().err
    assert not (tmp_path / 'val.json').exists()
