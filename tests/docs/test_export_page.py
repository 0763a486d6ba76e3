"""docs/export.md: the commands and both examples run, and the examples agree."""

import re

import numpy as np
import torch
from conftest import ROOT, tiny_lomar
from PIL import Image

from lomar import Encoder
from lomar.cli import COMMANDS, main

PAGE = (ROOT / 'docs/export.md').read_text()


def test_the_examples_run(tmp_path, monkeypatch):
    runtime, pytorch = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
    (line,) = re.findall(r'^    lomar (export .*?) +#', PAGE, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    torch.save(dict(state_dict=tiny_lomar().state_dict()), 'checkpoint.pth')
    Image.effect_noise((300, 240), 90).save('a.jpg')
    for suffix in ('.onnx', '.pt2'):
        assert main(line.replace('.onnx', suffix).split()) == 0
    names = {}
    exec(runtime, names)
    image = names['image']
    expected = Encoder('checkpoint.pth', 'cpu')([image])
    np.testing.assert_allclose(names['pooled'], expected.pooled, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(names['patches'], expected.patches, rtol=1e-4, atol=1e-5)
    names = {}
    exec(pytorch, names)
    assert names['pooled'].shape == (8, 48)
    one = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    torch.testing.assert_close(
        names['encoder'](one)['pooled'], expected.pooled, rtol=1e-4, atol=1e-5
    )


def test_the_metadata_are_listed():
    assert 'export' in COMMANDS
    listed = re.findall(r'`lomar\.(\w+)`', PAGE)
    assert {'size', 'outputs', 'part', 'mean', 'std', 'classes', 'version'} <= {*listed}
