"""The results page as Markdown and HTML, the tables of README.md, and metafile.yml."""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from string import Template

import yaml
from markdown_it import MarkdownIt

from benchmarks.results.measured import CONTENDERS, Claim, Measurement

ROOT = Path(__file__).resolve().parents[2]
FIGURES = {
    'top1': '+{} points of top-1 over {}',
    'box_ap': '+{} box AP over {}',
    'mask_ap': '+{} mask AP over {}',
    'segmentation': '+{} points over {}',
    'speed': '{} times as fast as {}',
}
PAPER = dict(
    Title='Local Masked Reconstruction for Efficient Self-Supervised Learning on '
    'High-Resolution Images',
    URL='https://arxiv.org/abs/2206.00790',
)
BASELINE = dict(
    Title='Masked Autoencoders Are Scalable Vision Learners',
    URL='https://arxiv.org/abs/2111.06377',
)
PAIRED = """"LoMaR vs." is LoMaR's value minus that of the other contender, paired by seed.
* = the 95 % confidence interval of the mean difference (t distribution) excludes 0. The hardware is
that of the last training."""
SHORT = '[The results page]({}) has the paired differences and the hardware.'
TEMPLATES = Path(__file__).parent / 'templates'


def fill(name: str, **parts: str) -> str:
    """Return a file of templates/ with its $names replaced."""
    return Template((TEMPLATES / name).read_text(encoding='utf-8')).substitute(parts)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of a heading and rows, without columns that are empty."""
    used = [place for place in range(len(rows[0])) if any(row[place] for row in rows[1:])]
    lines = [[row[place] for place in used] for row in rows]
    lines.insert(1, ['---'] * len(used))
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def published_text(entries: Iterable[dict]) -> str:
    """Return the published figures of a claim in words."""
    words = []
    for entry in entries:
        if 'top1' in entry:
            words.append(f'{entry["top1"]} %')
        for figure, value in entry.get('delta', {}).items():
            words.append(FIGURES[figure].format(value, entry['over']))
    return ', '.join(words)


def versions(entries: Iterable[dict]) -> str:
    """Return the versions of the paper that state a claim."""
    found = (re.sub(r' 2206\.00790|, abstracts?$', ' ', one['source']).strip() for one in entries)
    return ', '.join(dict.fromkeys(found))


def evidence(claim: Claim, measured: Iterable[Measurement], reproduces: bool) -> str:
    """Return the measurements that reproduce a claim, or its nearest measurements, in words."""
    rows = ((one.row.claims.get(claim.claim), one) for one in measured)
    return '; '.join(
        f'{one.versus(other)}: {one.setting}, {one.hardware()}'
        for other, one in rows
        if other and one.row.reproduces == reproduces
    )


def top(claims: list[Claim], published: dict, measured: list[Measurement], folder: str) -> str:
    """Return the tables of claims and of measured values.

    Args:
        folder: path from the file with the tables to docs/; '' for docs/results.md itself.
    """
    page = folder and f'{folder}results.md'
    own = [('claim', 'the paper reports', 'version', 'measured here', 'nearest measurement')]
    for claim in claims:
        entries = published[claim.claim]
        link = f'[{claim.quantity}]({page}#{claim.claim})'
        mine = evidence(claim, measured, True) or 'not yet measured'
        near = evidence(claim, measured, False)
        own.append((link, published_text(entries), versions(entries), mine, near))
    speed = measured_table(measured, 'images/s', folder)
    # Beside the text of README.md, a table of accuracy with all differences is too wide.
    accuracy = measured_table(measured, '%', folder, differences=not folder)
    words = SHORT.format(page) if folder else PAIRED
    parts = dict(claims=table(own), speed=speed, accuracy=accuracy, differences=words)
    return fill('tables.md', **parts, page=page, folder=folder)


def measured_table(
    measured: list[Measurement], unit: str, folder: str, differences: bool = True
) -> str:
    """Return the table of the measured values in a unit; LoMaR is compared with each other.

    Args:
        differences: whether the table has the comparisons and the hardware.
    """
    names = CONTENDERS | {'mae': 'MAE, equal time'} if unit == '%' else CONTENDERS
    others = [contender for contender in names if contender != 'lomar']
    compared = [f'LoMaR vs. {names[other]}' for other in others] if differences else []
    rows = [('setting', *names.values(), *compared, 'hardware' if differences else '')]
    for one in measured:
        if one.row.unit == unit:
            values = [one.value(contender) for contender in names]
            versus = [one.versus(other) for other in others if differences]
            link = f'[{one.setting}]({folder}{one.row.page})'
            rows.append((link, *values, *versus, one.hardware() if differences else ''))
    return table(rows)


def claim_section(claim: Claim, published: dict) -> str:
    """Return heading, published figures, configs and commands of a claim."""
    entries = published[claim.claim]
    parts = [
        f'<a id="{claim.claim}"></a>\n\n### {claim.quantity[0].upper()}{claim.quantity[1:]}',
        f'The paper ({versions(entries)}) reports: {published_text(entries)}. Data: {claim.data}.',
        claim.note,
    ]
    if claim.commands:
        links = [f'[{Path(name).name}](../mmconfigs/{name}.py)' for name in claim.configs]
        parts.append(f'Configs: {", ".join(links)}')
        parts.append('\n'.join(map(marked, claim.commands)))
    else:
        parts.append('Config: none yet.')
    return '\n\n'.join(part for part in parts if part)


def marked(command: str) -> str:
    """Return a line of Markdown: a training command, and the data that its config needs."""
    folder = command.removeprefix('lomar train ').partition('/')[0]
    data = dict(detect='COCO 2017', segment='ADE20K').get(folder, 'ImageNet-1k')
    return f'    {command}  # needs {data}'


def origins(measured: list[Measurement]) -> str:
    """Return the table of hardware, commit, date and file of each row."""
    rows = [('setting', 'hardware', 'commit', 'date', 'file', 'note')]
    for one in measured:
        file = f'[{one.row.file}](../benchmarks/{one.row.file})'
        known = one.hardware(), f'`{one.known("commit")}`', one.dates()
        rows.append((one.setting, *known, file, one.row.note))
    return table(rows)


def markdown(claims: list[Claim], published: dict, measured: list[Measurement]) -> str:
    """Return docs/results.md."""
    return fill(
        'page.md',
        tables=top(claims, published, measured, ''),
        claims='\n\n'.join(claim_section(claim, published) for claim in claims),
        origins=origins(measured),
    )


def html(page: str) -> str:
    """Return a Markdown page as HTML that needs no other file."""
    return fill('page.html', body=MarkdownIt('commonmark').enable('table').render(page))


def metafile(claims: list[Claim], published: dict) -> str:
    """Return metafile.yml in OpenMMLab's form, with the configs of all claims."""
    told: dict[str, list[str]] = {}
    for claim in claims:
        entries = published[claim.claim]
        text = f'{claim.quantity}: {published_text(entries)} ({versions(entries)})'
        for config in claim.configs:
            told.setdefault(config, []).append(text)
    collections = [
        dict(Name=name, Metadata=dict(Architecture=['ViT']), Paper=paper)
        for name, paper in (('LoMaR', PAPER), ('MAE', BASELINE))
    ]
    content = dict(Collections=collections, Models=[_model(*item) for item in told.items()])
    text = yaml.safe_dump(content, sort_keys=False, width=96, allow_unicode=True)
    head = 'Written by `python -m benchmarks.results`. Results: null until trained as published.'
    return f'# {head}\n{text}'


def _model(config: str, claims: list[str]) -> dict:
    from mmengine.config import Config

    cfg = Config.fromfile(ROOT / 'mmconfigs' / f'{config}.py')
    name, train = Path(config).name, cfg.train_cfg
    epochs = 'max_epochs' in train
    length = {'Epochs': train.max_epochs} if epochs else {'Iterations': train.max_iters}
    return {
        'Name': name,
        'In Collection': 'MAE' if 'mae' in re.split('[_-]', name) else 'LoMaR',
        'Metadata': {
            **length,
            'Batch Size': cfg.auto_scale_lr.base_batch_size,
            'LoMaR claims that need this config': claims,
        },
        'Results': None,
        'Config': f'configs/{config}.py',
    }


def by_claim(entries: Iterable[dict]) -> dict[str, list[dict]]:
    """Return published entries by their claim, in the order of the file."""
    known = sorted((one for one in entries if 'claim' in one), key=lambda one: one['claim'])
    return {name: list(group) for name, group in groupby(known, key=lambda one: one['claim'])}
