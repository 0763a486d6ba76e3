"""Compare resolved configs with official values, and write the comparison as Markdown."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lomar.recipes.resolved import Resolved


class RecipeError(ValueError):
    """A difference without a reason, or a reason without a difference; names every one."""


class PerSize(dict):
    """Values by the label of a config, such as PerSize(B=0.1, L=0.4, H=0.5)."""


@dataclass(frozen=True)
class Setting:
    """A setting, its official value, and why the value here differs, if it does.

    Attributes:
        ours: reads the value from a config or measures it on what the config builds.
        official: one value, or a `PerSize`.
        source: file of the official code that gives the value.
        reason: why the values differ; empty where they are equal.
        tolerance: largest relative difference of measured values that counts as equal.
    """

    name: str
    ours: Callable[[Resolved], object]
    official: object
    source: str
    reason: str = ''
    tolerance: float = 1e-9


@dataclass(frozen=True)
class Recipe:
    """A table: configs by label, and their settings.

    Attributes:
        origin: repositories and commits of the official code.
    """

    title: str
    configs: Mapping[str, str]
    origin: str
    settings: Sequence[Setting]


@dataclass(frozen=True)
class Row:
    """A compared setting: values by label of the config."""

    setting: Setting
    ours: dict[str, object]
    official: dict[str, object]
    equal: bool


def compare(recipe: Recipe, folder: Path) -> list[Row]:
    """Return a row for each setting of a recipe.

    Args:
        folder: `mmconfigs`, to which the paths of the configs are relative.

    Raises:
        RecipeError: settings that differ without a reason, or have a reason and are equal.
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
            fault = 'equal, and has a reason' if same else 'different, without a reason'
            wrong.append(f'  {recipe.title}, {setting.name}: {fault} ({found})')
    if wrong:
        raise RecipeError('\n'.join(['settings of lomar/recipes/:', *wrong]))
    return rows


def is_same(ours: object, official: object, tolerance: float) -> bool:
    """Whether two values are equal; numbers up to a relative tolerance."""
    if isinstance(ours, (list, tuple)) and isinstance(official, (list, tuple)):
        pairs = zip(ours, official, strict=False)
        return len(ours) == len(official) and all(is_same(a, b, tolerance) for a, b in pairs)
    numbers = all(type(value) in (int, float) for value in (ours, official))
    return math.isclose(ours, official, rel_tol=tolerance) if numbers else ours == official


def to_markdown(comparisons: Sequence[tuple[Recipe, list[Row]]]) -> str:
    """Return one table for each recipe, with the number of settings that are equal."""
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
                    '| Setting | Here | Official | Source | Equal, or why not |',
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
    """Return the values of a setting for people: once where all labels have the same."""
    # Of measured values only what chance does not change.
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
