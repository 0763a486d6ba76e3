"""Comparison of configs with official values, and its Markdown table."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.recipes.resolved import Resolved


class RecipeError(ValueError):
    """Error that lists settings that differ without a reason, or are equal but have a reason."""


class PerSize(dict):
    """Values per config label, such as PerSize(B=0.1, L=0.4, H=0.5)."""


@dataclass(frozen=True)
class Setting:
    """A setting, its official value, and the reason for a difference.

    Attributes:
        ours: reads the value from a config, or measures it on the built model or transform.
        official: one value, or a `PerSize`.
        source: file of the official code with the value.
        reason: reason for a difference; empty if the values are equal.
        tolerance: relative difference up to which values count as equal.
    """

    name: str
    ours: Callable[[Resolved], object]
    official: object
    source: str
    reason: str = ''
    tolerance: float = 1e-9


@dataclass(frozen=True)
class Recipe:
    """A table of settings.

    Attributes:
        configs: config files by label, such as B, L and H.
        origin: repositories and commits of the official code.
    """

    title: str
    configs: Mapping[str, str]
    origin: str
    settings: Sequence[Setting]


@dataclass(frozen=True)
class Row:
    """A compared setting, with values by config label."""

    setting: Setting
    ours: dict[str, object]
    official: dict[str, object]
    equal: bool


def compare(recipe: Recipe, folder: Path) -> list[Row]:
    """Return a row for each setting of a recipe.

    Args:
        folder: folder of the config files, `mmconfigs`.

    Raises:
        RecipeError: settings differ without a reason, or are equal but have a reason.
    """
    resolved = {label: Resolved(folder / name) for label, name in recipe.configs.items()}
    rows, wrong = [], []
    for setting in recipe.settings:
        ours = {label: setting.ours(each) for label, each in resolved.items()}
        given = setting.official
        official = {label: given[label] if isinstance(given, PerSize) else given for label in ours}
        same = all(is_same(ours[label], official[label], setting.tolerance) for label in ours)
        rows.append(Row(setting, ours, official, same))
        if same == bool(setting.reason):
            found = f'{show(setting, ours)} here, {show(setting, official)} in {setting.source}'
            fault = 'equal, but has a reason' if same else 'different, but has no reason'
            wrong.append(f'  {recipe.title}, {setting.name}: {fault} ({found})')
    if wrong:
        raise RecipeError('\n'.join(['settings of tests/recipes/:', *wrong]))
    return rows


def is_same(ours: object, official: object, tolerance: float) -> bool:
    """Return whether two values are equal, with a relative tolerance for numbers."""
    if isinstance(ours, (list, tuple)) and isinstance(official, (list, tuple)):
        pairs = zip(ours, official, strict=False)
        return len(ours) == len(official) and all(is_same(a, b, tolerance) for a, b in pairs)
    numbers = all(type(value) in (int, float) for value in (ours, official))
    return math.isclose(ours, official, rel_tol=tolerance) if numbers else ours == official


def to_markdown(comparisons: Sequence[tuple[Recipe, list[Row]]]) -> str:
    """Return one table per recipe, with the number of equal settings."""
    parts = []
    for recipe, rows in comparisons:
        names = ', '.join(f'`{Path(name).stem}`' for name in recipe.configs.values())
        equal = sum(row.equal for row in rows)
        parts += [
            f'## {recipe.title}',
            f'Configs: {names}. Official code: {recipe.origin}. '
            f'{equal} of {len(rows)} settings are equal.',
            '\n'.join(
                [
                    '| Setting | Here | Official | Source | Equal, or reason for the difference |',
                    '|---|---|---|---|---|',
                    *map(_line, rows),
                ]
            ),
        ]
    return '\n\n'.join(parts)


def _line(row: Row) -> str:
    one = row.setting
    cells = one.name, show(one, row.ours), show(one, row.official), one.source
    return f'| {" | ".join(cells)} | {one.reason or "equal"} |'


def show(setting: Setting, values: dict[str, object]) -> str:
    """Return the values of a setting as text; one value if all labels have the same."""
    # Measured values vary randomly, so fewer digits are shown.
    digits = 6 if setting.tolerance < 1e-6 else 2
    texts = {label: _text(value, digits) for label, value in values.items()}
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return '; '.join(f'{label} {text}' for label, text in texts.items())


def _text(value: object, digits: int) -> str:
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, float):
        return f'{value:.{digits}g}'
    if isinstance(value, (list, tuple)):
        return ', '.join(_text(one, digits) for one in value) or 'none'
    return 'none' if value is None else str(value)
