"""Claims and measured values, read from YAML and from the JSON files of the benchmarks."""

import json
import statistics
from pathlib import Path
from typing import Any, Literal

import msgspec
from scipy.stats import t

HERE = Path(__file__).parent
CLAIMS = HERE / 'claims.yaml'
CONTENDERS = {
    'lomar': 'LoMaR',
    'mae': 'MAE',
    'mae-images': 'MAE, equal images',
    'beit': 'BEiT',
    'random-lomar': "random, LoMaR's positions",
    'random-mae': "random, MAE's positions",
}


class Claim(msgspec.Struct, forbid_unknown_fields=True):
    """A claim of the paper; claims.yaml describes the keys."""

    claim: str
    quantity: str
    data: str
    commands: list[str] = []
    note: str = ''

    @property
    def configs(self) -> list[str]:
        """Return the configs of the commands, relative to mmconfigs/, without extension."""
        return list(dict.fromkeys(command.split()[2] for command in self.commands))


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """A measured row of the page; claims.yaml describes the keys."""

    setting: str
    data: str
    page: str
    file: str
    records: str
    where: dict[str, Any]
    figure: str
    unit: Literal['%', 'images/s']
    contender: str = 'contender'
    names: dict[str, str] = {}
    claims: dict[str, str] = {}
    reproduces: bool = False
    note: str = ''

    def select(self, content: dict) -> list[dict]:
        """Return the records of the row in a JSON file's content.

        Raises:
            ValueError: no record of LoMaR is selected, or more than one per contender and seed.
        """
        found = [
            record
            for record in records(content, self.records)
            if all(matches(record.get(key), value) for key, value in self.where.items())
        ]
        runs = [(self.name(record), record.get('seed')) for record in found]
        if not any(name == self.names.get('lomar', 'lomar') for name, _ in runs):
            raise ValueError(f'{self.setting}: no record of LoMaR in {self.file} is selected')
        if twice := sorted({str(run) for run in runs if runs.count(run) > 1}):
            raise ValueError(f'{self.setting}: several records in {self.file} for {twice}')
        return found

    def name(self, record: dict) -> str:
        """Return the contender of a record; one with LoMaR's number of images has its own name."""
        return record[self.contender] + ('-images' if record.get('budget') == 'images' else '')


class Source(msgspec.Struct, forbid_unknown_fields=True):
    """The content of claims.yaml."""

    claims: list[Claim]
    measured: list[Row]


class Measurement(msgspec.Struct):
    """The values of a row by contender and seed, and where they come from.

    Attributes:
        values: the value of each seed; the seed is None in a file without seeds.
        runs: the records of the row.
    """

    row: Row
    values: dict[str, dict[int | None, float]]
    runs: list[dict]

    @property
    def setting(self) -> str:
        """Return setting and data, and the number of seeds if the file has seeds."""
        seeds = len(self.values['lomar'].keys() - {None})
        return f'{self.row.setting}, {self.row.data}' + (f', {seeds} seeds' if seeds else '')

    def value(self, contender: str) -> str:
        """Return mean ± standard deviation with the unit; '' without the contender."""
        if contender not in self.values:
            return ''
        values = list(self.values[contender].values())
        pattern = (
            '{:.1f}' if self.row.unit == '%' else '{:,.0f}' if max(values) >= 100 else '{:.3g}'
        )
        return f'{spread(values, pattern)} {self.row.unit}'

    def versus(self, other: str) -> str:
        """Return LoMaR's difference in points (see `paired`), or ratio, to another contender.

        Raises:
            ValueError: the seeds of the two differ.
        """
        if other not in self.values:
            return ''
        ours, theirs = self.values['lomar'], self.values[other]
        if ours.keys() != theirs.keys():
            raise ValueError(f'{self.row.setting}: LoMaR and {other} have different seeds')
        if self.row.unit == '%':
            return paired([ours[seed] - theirs[seed] for seed in ours], ' points')
        return f'{statistics.fmean(ours.values()) / statistics.fmean(theirs.values()):#.2g} times'

    def known(self, key: str) -> str:
        """Return the different values of a key of the records, such as the commit."""
        return ', '.join(dict.fromkeys(run.get(key) or 'unknown' for run in self.runs))

    def dates(self) -> str:
        """Return the first and the last day of the records."""
        days = sorted(run['date'][:10] for run in self.runs)
        return ' to '.join(dict.fromkeys((days[0], days[-1])))

    def hardware(self) -> str:
        """Return the GPU, or the CPU with its threads."""
        return '; '.join(dict.fromkeys(machine(**run['hardware']) for run in self.runs))


def read_source() -> Source:
    """Return the claims and the measured rows of `CLAIMS`.

    Raises:
        msgspec.ValidationError: a key is missing, unknown, or has another type.
    """
    return msgspec.yaml.decode(CLAIMS.read_bytes(), type=Source)


def measure(row: Row, folder: Path = HERE.parent) -> Measurement:
    """Return the values of a row from its JSON file."""
    content = json.loads((folder / row.file).read_text(encoding='utf-8'))
    runs = row.select(content)
    values: dict[str, dict[int | None, float]] = {}
    for contender in CONTENDERS:
        name = row.names.get(contender, contender)
        own = [run for run in runs if row.name(run) == name]
        if own:
            values[contender] = {run.get('seed'): value_at(run, row.figure) for run in own}
    used = {row.names.get(contender, contender) for contender in values}
    runs = [run for run in runs if row.name(run) in used]
    return Measurement(row, values, runs)


def records(content: dict, path: str) -> list[dict]:
    """Return the records in the lists under a dotted path, with the values of the levels above."""
    found = [content]
    for key in path.split('.'):
        found = [
            {**{k: v for k, v in above.items() if k != key}, **item}
            for above in found
            for item in above.get(key, ())
        ]
    return found


def matches(value: object, allowed: object) -> bool:
    """Return whether a value equals the allowed value, or one of a list of allowed values."""
    return value in allowed if isinstance(allowed, list) else value == allowed


def value_at(record: dict, path: str) -> float:
    """Return the number under a dotted path of a record."""
    node: Any = record
    for key in path.split('.'):
        node = node[key]
    return float(node)


def spread(values: Any, pattern: str) -> str:
    """Return 'mean ± standard deviation' of several values, or the only value."""
    values = list(values)
    text = pattern.format(statistics.fmean(values))
    if len(values) == 1:
        return text
    return f'{text} ± {pattern.replace("+", "").format(statistics.stdev(values))}'


def paired(differences: list[float], unit: str = '') -> str:
    """Return 'mean ± standard deviation' of differences, and * if their mean differs from 0.

    The criterion is that the 95 % confidence interval of the mean (t distribution) excludes 0.
    """
    text, count = spread(differences, '{:+.1f}') + unit, len(differences)
    if count < 2:
        return text
    reach = t.ppf(0.975, count - 1) * statistics.stdev(differences) / count**0.5
    return text + '*' * bool(abs(statistics.fmean(differences)) > reach)


def machine(
    cpu: str,
    gpu: str | None,
    threads: int,
    slots: int = 1,
    precision: str = '',
    **_: object,
) -> str:
    """Return the hardware of a record, and the precision if the record has it, in words."""
    return ', '.join(filter(None, (gpu or f'{cpu}, {slots * threads} threads', precision)))
