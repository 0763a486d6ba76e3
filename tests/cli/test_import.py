"""What importing the package loads, registers and needs."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

HIDE = """
from importlib.machinery import PathFinder

find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, *args: (
    None if name.partition('.')[0] in {names} else find_spec(name, *args)
)
"""
OPENMMLAB = ('mmengine', 'mmcv', 'mmdet', 'mmpretrain')


def run(code, hide=()):
    """Return what a new interpreter prints that runs `code` with some packages hidden."""
    code = HIDE.format(names=tuple(hide)) + code
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_import_is_light():
    heavy = ('torch', 'numpy', 'PIL', 'timm', *OPENMMLAB)
    code = 'import sys, lomar; print(lomar.__version__, *sys.modules)'
    version, *modules = run(code)
    assert re.fullmatch(r'\d+\.\d+\.\d+\S*', version)
    assert not set(heavy) & set(modules)


@pytest.mark.parametrize('package', ['models', 'datasets', 'targets', 'checkpoints', 'engine'])
def test_packages_load_nothing_before_a_name_is_used(package):
    modules = run(f'import sys, lomar.{package}; print(*sys.modules)')
    assert not {'torch', 'numpy', 'mmengine'} & set(modules)


REGISTERED = """
import ast, pathlib
from mmengine import registry

classes = 0
for path in pathlib.Path('lomar').rglob('*.py'):
    for node in ast.walk(ast.parse(path.read_text())):
        for call in getattr(node, 'decorator_list', ()):
            text = ast.unparse(call)
            if '.register_module(' in text and not text.startswith('TARGETS'):
                classes += 1
                options = {kw.arg: ast.literal_eval(kw.value) for kw in call.keywords}
                names = options.get('name', node.name)
                root = getattr(registry, text.partition('.')[0])
                names = {names} if isinstance(names, str) else set(names)
                assert names <= set(root.module_dict), (path, names)
print(classes)
"""


SLOW = [
    'import lomar, lomar.register, mmengine',
    'from lomar.models import RPEViT; import lomar.register',
    'from lomar.detection import LazyMasks; import lomar.register',
    'from lomar.classification import LabelledImages; import lomar.register',
    'import mmengine.config, lomar.detection',
    'from lomar.engine import train_config',
]


@pytest.mark.parametrize(
    'first',
    [
        'import mmengine.config, lomar',  # what custom_imports=['lomar'] comes to
        *(pytest.param(order, marks=pytest.mark.slow) for order in SLOW),
    ],
)
def test_every_class_is_registered_in_any_order(first):
    (classes,) = run(first + REGISTERED)
    assert int(classes) > 40


def test_targets_are_found_before_anything_is_registered():
    code = 'from lomar.models.targets import TARGETS; print(*map(TARGETS.get, {}))'
    names = ('PixelTarget', 'HOGTarget', 'TeacherTarget', 'TokenTarget')
    assert 'None' not in run(code.format(names))


def test_timm_models_need_timm_only():
    code = """
import timm, torch, lomar.timm
model = timm.create_model('lomar_vit_base_patch16_224').eval()
with torch.inference_mode():
    print(*model(torch.zeros(1, 3, 224, 224)).shape)
"""
    assert run(code, hide=OPENMMLAB) == ['1', '1000']


@pytest.mark.parametrize(
    'first', ['import lomar', pytest.param('import mmengine, lomar', marks=pytest.mark.slow)]
)
def test_encoder_needs_no_openmmlab_but_mmengine(first):
    code = f"""
{first}
import numpy as np
encoder = lomar.Encoder('tests/fixtures/v0.1/pretrain_lomar.pth')
print(*encoder([np.zeros((64, 64, 3), np.uint8)]).pooled.shape)
"""
    assert run(code, hide=('mmcv', 'mmdet', 'mmpretrain')) == ['1', '16']


def test_warnings_that_users_cannot_act_on_are_hidden():
    code = """
import warnings, lomar.register
warnings.showwarning = lambda message, *_: print(message)
warnings.warn('`broadcast_buffers` is deprecated. Use `forward_sync_buffers`', FutureWarning)
warnings.warn('another', FutureWarning)
"""
    assert run(code) == ['another']


def test_an_incomplete_openmmlab_is_named():
    code = """
try:
    import lomar.register
except ImportError as error:
    print(error)
"""
    assert ' '.join(run(code, hide=('mmdet',))).startswith('lomar needs mmdet: pip install')


@pytest.mark.parametrize('flags', ['', '--cfg-options a=1'])
def test_a_command_without_openmmlab_says_how_to_install_it(flags):
    code = f"""
import sys
from lomar.cli import main

sys.stderr = sys.stdout
print(main('train lomar_pretrain {flags}'.split()))
"""
    line = ' '.join(run(code, hide=OPENMMLAB))
    assert line.startswith('lomar') and 'needs mmengine, mmcv, mmpretrain, mmdet: pip' in line
    assert line.endswith(' 1')


def test_a_conversion_registers_the_models_that_it_compares(tmp_path):
    code = f"""
from lomar.checkpoints.convert import convert_file

out = {str(tmp_path / 'lomar.pth')!r}
print(convert_file('tests/fixtures/v0.1/pretrain_lomar.pth', out, 'lomar', 'lomar').check)
"""
    assert 'verified: predictions' in ' '.join(run(code))


def test_inference_functions_in_the_documented_order():
    """With mmcv-lite, `mmdet.apis` fails before `lomar.register` and works after it."""
    order = """
import importlib.util, mmpretrain.apis
try:
    import mmdet.apis
    print(importlib.util.find_spec('mmcv._ext') is not None)
except ModuleNotFoundError as error:
    print(error.name == 'mmcv._ext')
import lomar.register
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmpretrain.apis import FeatureExtractor, ImageClassificationInferencer, inference_model
DetInferencer(weights='tests/fixtures/v0.1/detector_lomar.pth', device='cpu')
print('built')
"""
    printed = run(order)
    assert printed[0] == 'True' and printed[-1] == 'built'
