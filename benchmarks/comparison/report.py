"""Tables and plots of the committed results, which `python -m benchmarks.results` writes."""

import json
from pathlib import Path

from benchmarks.comparison.plots import plot_classifier, plot_detector
from benchmarks.comparison.protocol import SCALES, SEARCH_SEED
from benchmarks.comparison.tables import (
    Seconds,
    classifier_tables,
    detector_tables,
    segmenter_tables,
    speed_table,
)
from benchmarks.comparison.timing import read, step_seconds
from benchmarks.sections import with_section

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / 'docs'
PAGE = DOCS / 'comparison.md'
TABLES = dict(nuclei=detector_tables, segment=segmenter_tables, imagenette=classifier_tables)
PLOTS = dict(nuclei=plot_detector, imagenette=plot_classifier)


def records() -> dict[str, dict]:
    """Return the committed results by the name of their file."""
    names = [f'{study}_{scale}' for study in TABLES for scale in ('cpu', 'gpu')]
    files = [HERE / f'{name}.json' for name in names]
    return {file.stem: json.loads(file.read_text()) for file in files if file.exists()}


def written(page: str) -> str:
    """Return the page with the tables of the committed results between its markers.

    Raises:
        ValueError: a marker is missing.
    """
    sections = {'step_seconds': speed_table(read())}
    for name, record in records().items():
        sections[name] = TABLES[record['study']](record, grid_seconds(record['scale']))
    for name, tables in sections.items():
        try:
            page = with_section(page, name, tables)
        except ValueError as error:
            raise ValueError(f'{PAGE}: {error}') from None
    return page


def draw(folder: Path = DOCS / 'images') -> list[Path]:
    """Draw the plots of the committed results and return their files.

    The segmentation and a search alone have none.
    """
    files = []
    for name, record in records().items():
        plot = PLOTS.get(record['study'])
        if plot is None or all(run['seed'] == SEARCH_SEED for run in record['runs']):
            continue
        files.append(folder / f'{name}.png')
        plot(record, grid_seconds(record['scale']), files[-1])
    return files


def grid_seconds(scale: str) -> Seconds:
    """Return the seconds per step of both methods by patches per side."""
    patch = SCALES[scale].patch
    return {int(side) // patch: seconds for side, seconds in step_seconds(scale).items()}
