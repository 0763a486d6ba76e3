"""The notebook runs from top to bottom, with short trainings, and is stored without results."""

import os
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SHORT = {'--train 400': '--train 160', 'EPOCHS=100': 'EPOCHS=1', 'STEPS=400': 'STEPS=2'}


@pytest.fixture
def notebook():
    import nbformat  # not at the top: machines with a GPU may lack it

    return nbformat.read(ROOT / 'docs/own_images.ipynb', as_version=4)


def test_it_is_stored_without_results(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert cells and not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.mark.long
def test_it_runs(notebook, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    folder = Path(sys.executable).parent
    monkeypatch.setenv('PATH', f'{folder}{os.pathsep}{os.environ["PATH"]}')
    for old, new in SHORT.items():
        (cell,) = (cell for cell in notebook.cells if old in cell.source)
        cell.source = cell.source.replace(old, new)
    cell = notebook.cells[-1]
    cell.source = cell.source.replace('threshold=0.7', 'threshold=0')  # two steps find nothing sure
    NotebookClient(notebook, resources=dict(metadata=dict(path=str(tmp_path)))).execute()
    pictures = [output.data for output in cell.outputs if 'data' in output]
    printed = ''.join(output.text for output in cell.outputs if output.get('name') == 'stdout')
    assert printed.startswith('bbox ') and '\nsegm ' in printed
    assert len(pictures) == 4 and all('image/png' in picture for picture in pictures)
