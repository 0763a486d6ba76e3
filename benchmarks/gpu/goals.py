"""Comparison of measured `make gpu` results with their goals, as a Markdown table."""

from collections.abc import Iterable
from pathlib import Path

import yaml

HEAD = ('part', 'measured is', 'result', 'goal', 'reached', 'source of the goal')
REQUIRED = ('part', 'what', 'value', 'figure', 'unit', 'source')
UNITS = {'%': '{:.0%}', 'x': '{:.2f}', 'images/s': '{:.0f} images/s', 'cores': '{:.1f} cores'}


def read_goals(path: Path) -> list[dict]:
    """Return the goals of a YAML file.

    Raises:
        ValueError: a goal lacks a required key or has an unknown unit.
    """
    goals = yaml.safe_load(path.read_text(encoding='utf-8'))
    for goal in goals:
        missing = [key for key in REQUIRED if key not in goal]
        if missing or len({'least', 'most'} & set(goal)) != 1:
            raise ValueError(f'{path}: {goal}: needs {", ".join(REQUIRED)} and least or most')
        if goal['unit'] not in (*UNITS, 'passed'):
            raise ValueError(f"{path}: unit '{goal['unit']}'; allowed: {', '.join(UNITS)}, passed")
    return goals


def figures(result: dict) -> dict[str, dict]:
    """Return the figures of a slice by contender, loading method, or 'tests'."""
    if 'counts' in result:
        return {'tests': dict(counts=result['counts'])}
    if 'scales' in result:
        rows = result['scales'].items()
        return {f'{way} {size}': row[way] for size, row in rows for way in ('whole', 'regions')}
    if 'ways' in result:
        return {name: way for name, way in result['ways'].items() if isinstance(way, dict)}
    rates = result.get('matrix_rates', {})
    return {
        row['model']: row
        | dict(of_matrix_rate=row['tflops_per_second'] * 1e12 / rates[row['dtype']])
        for row in result.get('rows', ())
    }


def to_markdown(results: Iterable[dict], goals: list[dict]) -> str:
    """Return the table of all goals; all results must have the same device, code and versions."""
    by_slice = {result['slice']: result for result in results}
    rows = [HEAD, ('---',) * len(HEAD), *(_cells(goal, by_slice) for goal in goals)]
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def describe(results: list[dict]) -> str:
    """Return a line with the device, commit, versions, dates and matrix rates of results."""
    last = max(results, key=lambda result: result['date'])
    commits = dict.fromkeys(result['commit'] or 'unknown' for result in results)
    dates = sorted({result['date'][:10] for result in results})
    rates = [rate for one in results for rate in one.get('matrix_rates', {}).items()]
    names = {name: [rate for other, rate in rates if other == name] for name, _ in rates}
    words = [last['device'], f'commit {", ".join(commits)}', f'code {last["code"]}']
    words.append(f'PyTorch {last["versions"]["torch"]}')
    words.append(' to '.join(dict.fromkeys((dates[0], dates[-1]))))
    words += [
        f'matrix rate {min(own) / 1e12:.3g} to {max(own) / 1e12:.3g} TFLOP/s in {name}'
        for name, own in names.items()
    ]
    return ', '.join(words) + (' (toy size: no measurement)' if last['toy'] else '')


def _cells(goal: dict, by_slice: dict[str, dict]) -> tuple[str, ...]:
    text, reached = _result(goal, by_slice)
    bound = 'at least' if 'least' in goal else 'at most'
    if goal['unit'] == 'passed':
        asked = 'none failed'
    else:
        asked = f'{bound} {UNITS[goal["unit"]].format(goal.get("least", goal.get("most")))}'
    return goal['part'], goal['what'], text, asked, reached, goal['source']


def _result(goal: dict, by_slice: dict[str, dict]) -> tuple[str, str]:
    """Return the measured value as text, and whether it reaches the goal."""
    values = []
    for place in filter(None, (goal['value'], goal.get('over'))):
        name, contender = place.split('/', maxsplit=1)
        result = by_slice.get(name, {})
        value = figures(result).get(contender, {}).get(goal['figure'])
        if value is None:
            return _reason(name, contender, result), '-'
        values.append(value)
    if goal['unit'] == 'passed':
        return _tests(values[0], goal)
    value = values[0] / values[1] if len(values) > 1 else values[0]
    reached = value >= goal['least'] if 'least' in goal else value <= goal['most']
    text = UNITS[goal['unit']].format(value)
    if len(values) > 1:
        unit = 'MB' if goal['figure'] == 'peak_mb' else 'images/s'
        text += f' ({values[0]:.4g} / {values[1]:.4g} {unit})'
    elif goal['figure'] == 'of_matrix_rate':
        name, contender = goal['value'].split('/', maxsplit=1)
        row = figures(by_slice[name])[contender]
        least, most = row['images_per_second_range']
        text += f' ({row["images_per_second"]:.4g} images/s, {least:.4g} to {most:.4g})'
    return text, 'yes' if reached else 'no'


def _reason(name: str, contender: str, result: dict) -> str:
    """Return the reason for a missing figure."""
    if result.get('status') in ('failed', 'cut off') and not figures(result):
        # An unescaped bar would end the table cell.
        return f'{result["status"]}: {result["error"]}'.replace('|', '\\|')
    way = result.get('ways', {}).get(contender)
    return way if isinstance(way, str) else 'not measured'


def _tests(counts: dict, goal: dict) -> tuple[str, str]:
    text = ', '.join(f'{counts[key]} {key}' for key in ('passed', 'failures', 'errors', 'skipped'))
    well = not counts['failures'] and not counts['errors'] and counts['passed'] >= goal['least']
    return text, 'yes' if well else 'no'
