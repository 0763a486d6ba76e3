"""What the README says can be done is done."""

import re

from conftest import ROOT


def test_the_python_example_runs():
    (code,) = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL)
    names = {}
    exec(code, names)
    assert names['windows'].shape == (2, 4, 2) and names['masked'].shape == (2, 4, 49)
    assert names['prediction'].shape == (2, 4, 49, 768) and names['loss'].item() > 0


def test_links_and_files_exist():
    for document in (ROOT / 'README.md', *(ROOT / 'docs').glob('*.md')):
        text = document.read_text()
        for target in re.findall(r'\]\(([^)#:]+)\)', text):
            assert (document.parent / target).exists(), (document.name, target)
        for name in re.findall(
            r'\b(?:tools|mmconfigs|benchmarks|tests)/[\w./-]+\.(?:py|sh|yaml)', text
        ):
            assert (ROOT / name).exists(), (document.name, name)
