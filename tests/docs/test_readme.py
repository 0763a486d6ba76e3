"""README and docs: their Python examples run, and the files that they name exist."""

import re
import shutil

import torch
from conftest import ROOT, tiny_lomar
from PIL import Image
from shell_lines import shown_files
from trained import V01, detector_file, noise


def example(page: str, part: str) -> str:
    """Return the only Python example of a page that contains a text."""
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / page).read_text(), re.DOTALL)
    (found,) = [block for block in blocks if part in block]
    return found


def test_the_python_examples_run(tmp_path, monkeypatch):
    embed = example('README.md', 'lomar.Encoder')
    train = example('docs/pretraining.md', 'import torch\n')
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


def test_the_examples_of_predictions_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, size in (('a.jpg', (120, 96)), ('b.jpg', (64, 64))):
        Image.fromarray(noise(*size)).save(name)
    detector_file('detector.pth', lambda config: config.model.test_cfg.rcnn.update(score_thr=0.0))
    shutil.copy(V01 / 'classifier_lomar.pth', 'classifier.pth')
    names = {}
    exec(example('README.md', 'lomar.Detector'), names)
    assert names['found'].boxes.shape[1:] == (4,) and names['found'].masks.shape[1:] == (120, 96)
    assert Image.open('drawn.jpg').size == (96, 120)
    exec(example('README.md', 'lomar.Classifier'), {})
    exec(example('docs/predict.md', 'for found in detector('), {})
    Image.fromarray(noise(1100, 90)).save('scene.tif')
    exec(example('docs/predict.md', 'lomar.detect_tiles'), names)
    assert names['found'].height == 1100 and Image.open('scene.jpg').size == (90, 1100)
    assert len(capsys.readouterr().out.splitlines()) >= 4


def test_links_and_files_exist():
    pages = ROOT / 'README.md', ROOT / 'benchmarks/README.md', *(ROOT / 'docs').glob('*.md')
    for document in pages:
        text = document.read_text()
        for target in re.findall(r'\]\(([^)#:]+)\)', text):
            assert (document.parent / target).exists(), (document.name, target)
        for name in re.findall(
            r'\b(?:tools|mmconfigs|benchmarks|tests)/[\w./-]+\.(?:py|sh|yaml)', text
        ):
            shown = name in shown_files(document.relative_to(ROOT))
            assert shown or (ROOT / name).exists(), (document.name, name)
