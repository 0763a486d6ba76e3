"""Markdown tables of the comparison's results."""

from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks.comparison.protocol import SCALES, SEARCH_SEED
from benchmarks.comparison.runs import METHODS
from benchmarks.comparison.variants import VARIANTS
from benchmarks.results.measured import machine, paired, spread
from benchmarks.results.page import table

Seconds = Mapping[int, Mapping[str, float]]  # by patches per side, and method
Key = tuple[str, str | None]  # contender and budget
NAMES: dict[Key, str] = {
    ('lomar', 'time'): 'LoMaR',
    ('mae', 'time'): 'MAE, equal time',
    ('mae', 'images'): 'MAE, equal images',
    ('random-lomar', None): "random, LoMaR's positions",
    ('random-mae', None): "random, MAE's positions",
}
DETECTOR = dict(box_ap='box AP', box_ap50='AP50', mask_ap='mask AP', mask_ap50='mask AP50')
WORDS = dict(mask_ap='mask AP', knn='kNN', linear='linear probe', top1='top-1', miou='mIoU')
MINUS = 'LoMaR minus this row'
PROBES = dict(knn='kNN', linear='linear probe')
STAR = '* = the 95 % confidence interval excludes 0'


def final(record: dict, task: str, **keys) -> list[dict]:
    """Return the runs of a task outside the search that have these values.

    Runs of a variant are left out, unless `variant` names it.
    """
    keys = dict(variant=None) | keys
    return [
        run
        for run in record['runs']
        if run['task'] == task
        and run['seed'] != SEARCH_SEED
        and all(run.get(key) == value for key, value in keys.items())
    ]


def by_contender(runs: Sequence[dict]) -> dict[Key, dict[int, dict]]:
    """Return runs by contender and budget, in the order of `NAMES`, and by seed."""
    found: dict[Key, dict[int, dict]] = {}
    for key in NAMES:
        own = {run['seed']: run for run in runs if (run['contender'], run.get('budget')) == key}
        if own:
            found[key] = own
    return found


def figure(runs: Mapping[int, dict], name: str) -> str:
    """Return mean ± standard deviation of a figure over the seeds."""
    return spread([run['figures'][name] for run in runs.values()], '{:.1f}')


def difference(ours: Mapping[int, dict], theirs: Mapping[int, dict], name: str) -> str:
    """Return LoMaR's difference in a figure over the common seeds; see `paired`."""
    common = ours.keys() & theirs.keys()
    if not common or ours is theirs:
        return ''
    return paired([ours[seed]['figures'][name] - theirs[seed]['figures'][name] for seed in common])


def origin(record: dict) -> str:
    """Return how many runs of which tasks come from which hardware and commit, in one paragraph."""
    kinds = Counter(
        (machine(**run['hardware']), run['commit'], run['task']) for run in record['runs']
    )
    words = [
        f'{count} x {task} on {where}, '
        + (f'commit `{commit}`' if commit else 'commit not recorded')
        for (where, commit, task), count in kinds.items()
    ]
    return f'Command: `{record["command"]}`. Runs: {"; ".join(words)}.'


def detector_tables(record: dict, seconds: Seconds) -> str:
    """Return tables of AP over labels, of AP over steps, of the search, and of the variants."""
    parts = {
        f'AP (%) over the number of labelled images ({STAR}):': ap_table(record),
        'Box AP (%) over the steps of fine-tuning:': curve_table(record),
        'Search of the learning rates, one seed:': search_table(record, 'mask_ap'),
        'Variants of the protocol, on the held-out images of the search, one seed:': variant_table(
            record
        ),
    }
    for variant in VARIANTS:
        if variant.repeated and final(record, 'detect', variant=variant.name):
            caption = f'AP (%) of the variant "{variant.name}", on the validation images ({STAR}):'
            parts[caption] = ap_table(record, variant.name)
    return captioned(parts, record)


def ap_table(record: dict, variant: str | None = None) -> str:
    """Return the table of AP over labels, of the protocol or of a variant."""
    minus = [f'{MINUS}: {name}' for name in ('box AP', 'mask AP')]
    rows = [('labelled images', 'weights', *DETECTOR.values(), *minus, 'seeds')]
    for labels in sorted({run['labels'] for run in final(record, 'detect', variant=variant)}):
        found = by_contender(final(record, 'detect', labels=labels, variant=variant))
        ours = found.get(('lomar', 'time'), {})
        for key, runs in found.items():
            figures = [figure(runs, name) for name in DETECTOR]
            minus = [difference(ours, runs, name) for name in ('box_ap', 'mask_ap')]
            rows.append((str(labels), NAMES[key], *figures, *minus, str(len(runs))))
    return table(rows)


def captioned(parts: Mapping[str, str], record: dict) -> str:
    """Return tables, each below its caption, and the origin of the record."""
    texts = [f'{caption}\n\n{rows}' for caption, rows in parts.items()]
    return '\n\n'.join([*texts, origin(record)])


def curve_table(record: dict) -> str:
    """Return the table of box AP over the steps of fine-tuning, for the labels that have curves."""
    runs = [run for run in final(record, 'detect') if len(run['curve']) > 1]
    steps = sorted({point['step'] for run in runs for point in run['curve']})
    rows = [('labelled images', 'weights', *(f'{step} steps' for step in steps))]
    for labels in sorted({run['labels'] for run in runs}):
        own = [run for run in runs if run['labels'] == labels]
        for key, seeds in by_contender(own).items():
            at = [
                [p['box_ap'] for run in seeds.values() for p in run['curve'] if p['step'] == step]
                for step in steps
            ]
            rows.append(
                (str(labels), NAMES[key], *(spread(one, '{:.1f}') if one else '' for one in at))
            )
    return table(rows)


def search_table(record: dict, *names: str) -> str:
    """Return the table of learning rates that were tried; the first of the figures decided."""
    rates = 'learning rate of pretraining', 'learning rate of fine-tuning'
    figures = [f'{WORDS[name]} on held-out images' for name in names]
    rows = [('weights', 'labelled images', *rates, *figures)]
    for run in record['runs']:
        if run['seed'] == SEARCH_SEED and names[0] in run['figures'] and 'variant' not in run:
            tuned = run['task'] != 'pretrain'
            pretrained = run.get('pretrain_rate') if tuned else run['rate']
            words = [f'{rate:g}' if rate else '' for rate in (pretrained, tuned and run['rate'])]
            weights = NAMES[run['contender'], run.get('budget')]
            figures = [f'{run["figures"][name]:.1f}' for name in names]
            rows.append((weights, str(run.get('labels', '')), *words, *figures))
    return table([rows[0], *sorted(rows[1:])])


def variant_table(record: dict) -> str:
    """Return the table of the variants that were tried, with LoMaR and random weights side by side.

    The first row is the protocol: the best runs of the search.
    """
    runs = [run for run in record['runs'] if run['task'] == 'detect' and run['seed'] == SEARCH_SEED]
    names = list(dict.fromkeys(run.get('variant', '') for run in runs))
    contenders = [key for key in NAMES if key[1] != 'images']
    rows = [('variant', *(f'{NAMES[key]}: box / mask AP' for key in contenders))]
    for name in names:
        cells = []
        for contender, budget in contenders:
            own = [
                run
                for run in runs
                if (run['contender'], run.get('budget'), run.get('variant', ''))
                == (contender, budget, name)
            ]
            top = max(own, key=lambda run: run['figures']['mask_ap'], default=None)
            figures = top and [f'{top["figures"][ap]:.1f}' for ap in ('box_ap', 'mask_ap')]
            cells.append(' / '.join(figures) if figures else '')
        rows.append((name or 'the protocol', *cells))
    return table(rows)


def segmenter_tables(record: dict, seconds: Seconds) -> str:
    """Return tables of mIoU over labels, and of the search."""
    rows: list[tuple[str, ...]] = [
        ('labelled images', 'weights', 'mIoU', 'pixel accuracy', f'{MINUS}: mIoU', 'seeds')
    ]
    for labels in sorted({run['labels'] for run in final(record, 'segment')}):
        found = by_contender(final(record, 'segment', labels=labels))
        ours = found.get(('lomar', 'time'), {})
        for key, runs in found.items():
            figures = [figure(runs, name) for name in ('miou', 'pixel_acc')]
            minus = difference(ours, runs, 'miou')
            rows.append((str(labels), NAMES[key], *figures, minus, str(len(runs))))
    parts = {
        f'mIoU and accuracy of the pixels (%) over the number of labelled images ({STAR}):': table(
            rows
        ),
        'Search of the learning rates, one seed:': search_table(record, 'miou'),
    }
    return captioned(parts, record)


def classifier_tables(record: dict, seconds: Seconds) -> str:
    """Return tables of probes, of fine-tuning, and of the search."""
    rows = [
        (
            'grid',
            'weights',
            'epochs',
            'hours',
            *PROBES.values(),
            *(f'{MINUS}: {name}' for name in PROBES.values()),
            'seeds',
        )
    ]
    for grid in sorted({run['grid'] for run in final(record, 'pretrain')}):
        found = by_contender(final(record, 'pretrain', grid=grid))
        ours = found.get(('lomar', 'time'), {})
        for key, runs in found.items():
            some = next(iter(runs.values()))
            trained = key[1] is not None
            spent = f'{hours(some, seconds):.2f}' if trained else ''
            figures = [figure(runs, name) for name in PROBES]
            differences = [difference(ours, runs, name) for name in PROBES]
            epochs = str(some['epochs']) if trained else ''
            rows.append(
                (
                    f'{grid} x {grid}',
                    NAMES[key],
                    epochs,
                    spent,
                    *figures,
                    *differences,
                    str(len(runs)),
                )
            )
    parts = {}
    if len(rows) > 1:
        parts[f'Top-1 accuracy (%) of frozen features ({STAR}):'] = table(rows)
    rows = [('labelled images', 'weights', 'top-1', MINUS, 'seeds')]
    for labels in sorted({run['labels'] for run in final(record, 'classify')}):
        found = by_contender(final(record, 'classify', labels=labels))
        ours = found.get(('lomar', 'time'), {})
        for key, runs in found.items():
            minus = difference(ours, runs, 'top1')
            rows.append((str(labels), NAMES[key], figure(runs, 'top1'), minus, str(len(runs))))
    if len(rows) > 1:
        caption = (
            f'Top-1 accuracy (%) after fine-tuning over the number of labelled images ({STAR}):'
        )
        parts[caption] = table(rows)
        caption = 'Search of the learning rates of fine-tuning, one seed:'
        parts[caption] = search_table(record, 'top1')
    caption = 'Search of the learning rates of pretraining, one seed (kNN decides):'
    parts[caption] = search_table(record, *PROBES)
    return captioned(parts, record)


def speed_table(measured: Mapping[str, dict]) -> str:
    """Return the table of milliseconds per image of a pretraining step, by scale and grid.

    Args:
        measured: content of step_seconds.json by scale.
    """
    figures = 'LoMaR, ms per image', 'MAE', 'MAE / LoMaR'
    rows = [('scale', 'grid', *figures, 'precision', 'hardware', 'commit')]
    for scale, record in measured.items():
        for side, seconds in record['seconds'].items():
            grid = int(side) // SCALES[scale].patch
            lomar, mae = (1000 * seconds[method] / record['batch'] for method in METHODS)
            figures = f'{lomar:.2f}', f'{mae:.2f}', f'{mae / lomar:.2f}'
            where = record['precision'], machine(**record['hardware']), f'`{record["commit"]}`'
            rows.append((scale, f'{grid} x {grid}', *figures, *where))
    return table(rows)


def hours(run: dict, seconds: Seconds) -> float:
    """Return the hours of a pretraining's steps, from the seconds per step measured alone."""
    return run['steps'] * seconds[run['grid']][run['contender']] / 3600
