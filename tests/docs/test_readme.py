"""README and docs: their Python examples run, and the files that they name exist."""

import re

import torch
from conftest import ROOT, tiny_lomar
from PIL import Image


def example(page: str, head: str) -> str:
    """Return the only Python example of a page that begins with this line."""
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / page).read_text(), re.DOTALL)
    (found,) = [block for block in blocks if block.startswith(head + '\n')]
    return found


def test_the_python_examples_run(tmp_path, monkeypatch):
    embed = example('README.md', 'import lomar')
    train = example('docs/pretraining.md', 'import torch')
    monkeypatch.chdir(tmp_path)
    torch.save(dict(state_dict=tiny_lomar().state_dict()), 'checkpoint.pth')
    Image.effect_noise((300, 240), 90).save('a.jpg')
    Image.effect_noise((100, 140), 90).save('b.jpg')
    names = {}
    exec(embed, names)
    assert names['features'].pooled.shape == (2, 48)
    assert names['features'].patches.shape == (2, 48, 224 // 8, 224 // 8)
    names = {}
    exec(train, names)
    assert names['windows'].shape == (2, 4, 2) and names['masked'].shape == (2, 4, 49)
    assert names['prediction'].shape == (2, 4, 49, 768) and names['loss'].item() > 0


def test_links_and_files_exist():
    pages = ROOT / 'README.md', ROOT / 'benchmarks/README.md', *(ROOT / 'docs').glob('*.md')
    for document in pages:
        text = document.read_text()
        for target in re.findall(r'\]\(([^)#:]+)\)', text):
            assert (document.parent / target).exists(), (document.name, target)
        for name in re.findall(
            r'\b(?:tools|mmconfigs|benchmarks|tests)/[\w./-]+\.(?:py|sh|yaml)', text
        ):
            assert (ROOT / name).exists(), (document.name, name)
