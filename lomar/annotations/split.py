"""Splits of a COCO file by image into parts with similar numbers of objects of every class."""

import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lomar.annotations.safe_json import read_json
from lomar.annotations.source import check_unique, is_known, one_line
from lomar.detection.coco import COCO_FILE, read_coco

PARTS = ('train', 'val', 'test')
NAMED = 10  # classes that a note names


def split_coco(
    path: str | Path, fractions: Sequence[float], seed: int = 0, group: str | None = None
) -> dict[str, dict]:
    """Return the content of one COCO file per part: `train`, `val`, and `test` for 3 fractions.

    All else in the file, such as categories and ids, is the same in every part.

    Args:
        fractions: shares of the parts, with the sum 1.
        seed: of the order in which groups of the same classes are assigned.
        group: regular expression that is searched in `file_name`. Images with the same text in its
            first parentheses (without parentheses: in the whole match) get into one part. Images
            with one file_name always do.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not in COCO's format or has an id or a class twice, an image does
            not match `group`, or a part would have no image.
    """
    read_coco(path, advice=COCO_FILE)  # raises the errors of a file that is not in COCO's format
    coco = read_json(Path(path))
    check_unique(path, coco)
    groups = _groups(path, coco['images'], group)
    part_of = _assign(_objects(path, coco, groups), groups, fractions, seed)
    names = PARTS[: len(fractions)]
    parts = {}
    for index, name in enumerate(names):
        taken = {key for key, part in part_of.items() if part == index}
        parts[name] = {
            **coco,
            'images': [one for one in coco['images'] if one['id'] in taken],
            'annotations': [one for one in coco['annotations'] if one['image_id'] in taken],
        }
        if not taken:
            raise ValueError(
                f'{path}: {name} would have no image: {len(set(groups.values()))} groups of images '
                f'for the fractions {list(fractions)}'
            )
    return parts


def split_table(parts: dict[str, dict]) -> str:
    """Return a table of images, and of objects per class (without crowds), in each part.

    Beside each number is its share of all parts.
    """
    columns = []
    for coco in parts.values():
        used = {one['image_id'] for one in coco['annotations']}
        column = dict(images=len(coco['images']), annotations=len(coco['annotations']))
        column['images without annotations'] = column['images'] - len(used)
        found = _objects_of(coco)
        names = {f'  {one_line(one["name"])}': found[one['id']] for one in coco['categories']}
        columns.append({**column, 'objects': sum(found.values()), **names})
    width = max(map(len, columns[0]))
    lines = [' ' * width + ''.join(f'{name:>10}{"share":>9}' for name in parts)]
    for row in columns[0]:
        numbers = [column[row] for column in columns]
        shares = [f'{number / sum(numbers):.1%}' if sum(numbers) else '-' for number in numbers]
        cells = zip(numbers, shares, strict=True)
        lines.append(f'{row:{width}}' + ''.join(f'{one:>10}{share:>9}' for one, share in cells))
    return '\n'.join(lines)


def split_notes(parts: dict[str, dict]) -> list[str]:
    """Return a line for each part that lacks classes of which other parts have objects."""
    found = {name: _objects_of(coco) for name, coco in parts.items()}
    categories = next(iter(parts.values()))['categories']
    used = [one for one in categories if any(each[one['id']] for each in found.values())]
    notes = []
    for name, objects in found.items():
        lost = [one_line(one['name']) for one in used if not objects[one['id']]]
        if lost:
            listed = ', '.join(lost[:NAMED])
            listed += f' and {len(lost) - NAMED} more' if len(lost) > NAMED else ''
            effect = 'without training' if name == 'train' else 'without AP there'
            number = f'{len(lost)} of {len(used)} classes'
            notes.append(f'{name} has no objects of {number}, {effect}: {listed}')
    return notes


def _objects_of(coco: dict) -> Counter:
    """Return the number of objects by category id, without crowds."""
    return Counter(one['category_id'] for one in coco['annotations'] if not one.get('iscrowd'))


def _groups(path: str | Path, images: list, group: str | None) -> dict:
    """Return the name of the group by image id."""
    found: dict = {}
    for index, image in enumerate(images):
        where = f'{path}: images[{index}]'
        key = image.get('id') if isinstance(image, dict) else None
        if type(key) not in (int, str) or not isinstance(image.get('file_name'), str):
            raise ValueError(f'{where} needs an id and a file_name; see lomar check')
        name = image['file_name']
        if group is not None:
            match = re.search(group, name)
            if match is None:
                raise ValueError(f'{where}: --group {group!r} is not found in {name}')
            name = next((text for text in match.groups() if text is not None), match[0])
        found[key] = name
    if not found:
        raise ValueError(f'{path} has no images')
    return found


def _objects(path: str | Path, coco: dict, groups: dict) -> dict[str, Counter]:
    """Return the number of objects by category id for every group; the key None counts images."""
    numbers: dict[str, Counter] = {}
    for name in groups.values():
        numbers.setdefault(name, Counter())[None] += 1
    known = {category['id'] for category in coco['categories']}
    for index, one in enumerate(coco['annotations']):
        entry = one if isinstance(one, dict) else {}
        image, category = entry.get('image_id'), entry.get('category_id')
        if not is_known(image, groups) or not is_known(category, known):
            raise ValueError(
                f'{path}: annotations[{index}] is on no image, or of no category, of the file; see '
                'lomar check'
            )
        if not entry.get('iscrowd'):
            numbers[groups[image]][category] += 1
    return numbers


def _image_numbers(images: int, fractions: Sequence[float]) -> list[int]:
    """Return the number of images of each part, with the sum `images`: the largest remainders."""
    exact = [images * share for share in fractions]
    whole = [int(number) for number in exact]
    order = sorted(range(len(exact)), key=lambda part: whole[part] - exact[part])
    for part in order[: images - sum(whole)]:
        whole[part] += 1
    return whole


def _assign(
    numbers: dict[str, Counter], groups: dict, fractions: Sequence[float], seed: int
) -> dict:
    """Return the part by image id.

    The order is that of iterative stratification (Sechidis et al., 2011): groups with the rarest
    class among those that are left are next, and of them those with most objects of the class.
    A group gets into a part that lacks as many images; among such parts, into the one where it
    lowers the sum of (count - wanted)^2 / wanted, over classes and images, most.
    """
    left = sorted(numbers)
    random.Random(seed).shuffle(left)
    total = sum(numbers.values(), Counter())
    wanted = [{key: count * share for key, count in total.items()} for share in fractions]
    lacking = [dict(one) for one in wanted]
    free = _image_numbers(total[None], fractions)

    def change(group: Counter, part: int) -> float:
        lack, want = lacking[part], wanted[part]
        return sum((n * n - 2 * n * lack[key]) / want[key] for key, n in group.items() if n)

    part_of: dict[str, int] = {}
    there = Counter(total)  # in the groups that are left
    while left:
        classes = sorted((count, key) for key, count in there.items() if count and key is not None)
        rare = classes[0][1] if classes else None
        chosen = [name for name in left if numbers[name][rare]]
        for name in sorted(chosen, key=lambda one: -numbers[one][rare]):
            size = numbers[name][None]
            over = [max(0, size - each) for each in free]
            parts = [part for part, each in enumerate(over) if each == min(over)]
            part = min(parts, key=lambda part: change(numbers[name], part))
            part_of[name] = part
            free[part] -= size
            there.subtract(numbers[name])
            for key, count in numbers[name].items():
                lacking[part][key] -= count
        left = [name for name in left if name not in part_of]
    return {image: part_of[name] for image, name in groups.items()}
