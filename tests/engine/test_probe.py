"""kNN and linear probe: the maths, the folder, and a training that does not notice them."""

import json
import random
import re
from copy import deepcopy

import numpy as np
import pytest
import torch
from conftest import ROOT, TINY_ARCH, randomised
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS, init_default_scope
from PIL import Image
from processes import run_ranks
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lomar.checkpoints import transfer_backbone
from lomar.datasets import class_folders, image_io
from lomar.datasets.class_folders import split_folder
from lomar.engine import Runner
from lomar.engine.probe import knn_predict, linear_logits
from lomar.engine.probe_hook import encode
from lomar.models import RPEViT
from lomar.utils import undisturbed

COLOURS = dict(blue=(30, 60, 200), green=(40, 180, 60), red=(200, 40, 30))


@pytest.fixture
def colours(tmp_path):
    """Class folders `blue`, `green` and `red`, each with ten noisy images of 40 x 30 pixels."""
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        folder = tmp_path / 'colours' / name
        folder.mkdir(parents=True)
        for number in range(10):
            pixels = (rng.normal(0, 20, (30, 40, 3)) + colour).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f'{number}.png')
    return tmp_path / 'colours'


@pytest.fixture
def features():
    """Three overlapping classes, 600 + 1100 rows: more than are compared at a time."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (1700,), generator=generator)
    centres = torch.randn(3, 12, generator=generator, dtype=torch.float64)
    noise = torch.randn(1700, 12, generator=generator, dtype=torch.float64)
    rows = (centres[labels] + 1.5 * noise) * torch.logspace(-2, 2, 12, dtype=torch.float64) + 3
    return rows[:600], labels[:600], rows[600:], labels[600:]


def test_knn_equals_scikit_learn(features):
    train, labels, test, true = features
    reference = KNeighborsClassifier(
        20, metric='cosine', algorithm='brute', weights=lambda d: np.exp((1 - d) / 0.07)
    ).fit(train, labels)
    predicted = knn_predict(train, labels, test, k=20, temperature=0.07)
    assert predicted.tolist() == reference.predict(test).tolist()
    assert 0.4 < (predicted == true).double().mean() < 0.99


def test_linear_probe_equals_scikit_learn(features):
    train, labels, test, _ = features
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (600 * 1e-2), tol=1e-8))
    expected = reference.fit(train, labels).predict_proba(test)
    probabilities = linear_logits(train, labels, test, l2=1e-2).softmax(dim=1)
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    single = linear_logits(train.float(), labels, test.float(), l2=1e-2).softmax(dim=1)
    np.testing.assert_allclose(single, expected, atol=2e-3)


def test_split(colours):
    classes, train, val = split_folder(colours, 0.2, seed=0)
    assert classes == ['blue', 'green', 'red']
    assert [label for _, label in val] == [0, 0, 1, 1, 2, 2]
    assert len({*train, *val}) == 30 and not {*train} & {*val}
    assert split_folder(colours, 0.2, seed=0)[2] == val != split_folder(colours, 0.2, seed=1)[2]
    both = colours.parent / 'both'
    both.mkdir()
    (both / 'train').symlink_to(colours)
    (both / 'val/red').mkdir(parents=True)
    (colours / 'red/3.png').rename(both / 'val/red/3.png')
    _, train, val = split_folder(both)
    assert len(train) == 29 and val == [(str(both / 'val/red/3.png'), 2)]
    (both / 'val/red').rename(both / 'val/pink')
    with pytest.raises(ValueError, match=r"val has the classes \['pink'\], train has not"):
        split_folder(both)


def config(colours, work_dir, probe):
    """A toy pretraining whose every random number comes from the global generators."""
    cfg = Config.fromfile(ROOT / 'mmconfigs/shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes.py')
    backbone = dict(arch=dict(embed_dim=24, depth=2, num_heads=2), img_size=32)
    cfg.merge_from_dict({f'model.backbone.{k}': v for k, v in backbone.items()})
    cfg.model.backbone.drop_path_rate = 0.3
    cfg.model.windows.size = 3
    loader = cfg.train_dataloader
    # A worker, as loading an image seeds the generators of the process that loads it.
    loader.update(batch_size=8, num_workers=1, persistent_workers=False)
    loader.dataset.data_root = str(colours)
    loader.dataset.pipeline[0].scale = 32
    cfg.train_cfg.max_epochs = 3
    cfg.param_scheduler = None
    cfg.custom_hooks = [dict(type='ProbeHook', images=str(colours), **probe)] if probe else []
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = str(work_dir)
    return cfg


class Noisy:
    """`RPEViT.forward`, only the probe's way through the model here, drawing random numbers."""

    calls = 0

    def __init__(self, monkeypatch):
        forward = RPEViT.forward

        def noisy(backbone, images):
            assert not backbone.training and not torch.is_grad_enabled()
            self.calls += 1
            random.random(), np.random.rand(), torch.rand(1)
            if torch.cuda.is_available():
                torch.rand(1, device='cuda')
            return forward(backbone, images)

        monkeypatch.setattr(RPEViT, 'forward', noisy)


def test_training_does_not_notice(colours, tmp_path, monkeypatch):
    noisy, read = Noisy(monkeypatch), []
    monkeypatch.setattr(
        class_folders, 'read_rgb', lambda path, *_: read.append(path) or image_io.read_rgb(path)
    )
    probe = dict(interval=2, k=5, batch_size=16)
    without = Runner.from_cfg(config(colours, tmp_path / 'without', None))
    without.train()
    assert not noisy.calls
    runner = Runner.from_cfg(config(colours, tmp_path / 'with', probe))
    runner.train()
    # A first look, and two batches at the end of epochs 2 and 3, the last.
    assert noisy.calls == 1 + 2 * 2 and len(read) == 30, 'read once'
    for name, value in without.model.state_dict().items():
        assert torch.equal(value, runner.model.state_dict()[name]), name
    moments = (each.optim_wrapper.state_dict() for each in (without, runner))
    torch.testing.assert_close(*moments, rtol=0, atol=0)
    assert all(module.training for module in runner.model.modules())
    (log,) = (tmp_path / 'with').glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in log.read_text().splitlines()]
    records = [record for record in records if 'probe/knn' in record]
    assert [(record['step'], record['epoch']) for record in records] == [(6, 2), (9, 3)]
    assert all(record['probe/knn'] == record['probe/linear'] == 100 for record in records)
    assert runner.message_hub.get_scalar('probe/seconds').current() == records[1]['probe/seconds']

    # Images that are not kept give the same figures; they are read again.
    hook = runner.hooks[[type(hook).__name__ for hook in runner.hooks].index('ProbeHook')]
    scattered = HOOKS.build(dict(type='ProbeHook', images=str(colours), k=5, max_memory=0))
    scattered.before_train(runner)
    for each in (hook, scattered):
        each.labels = each.labels.roll(7)  # else everything is right whatever is done
    with undisturbed(runner.model) as model:
        assert hook.scores(model) == scattered.scores(model) != dict(knn=100, linear=100)
        assert len(read) == 30 * 3
        next(model.parameters()).data.fill_(float('nan'))
        assert np.isnan(list(hook.scores(model).values())).all()


def train_in_two_processes(cfg, tmp_path):
    cfg.env_cfg.dist_cfg.backend = 'gloo'
    cfg.dump(tmp_path / 'config.py')
    command = ('-m', 'lomar', 'train', tmp_path / 'config.py', '--launcher', 'pytorch')
    done = run_ranks(*command, count=2)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_of_two_processes_one_probes(colours, tmp_path):
    code, text = train_in_two_processes(
        config(colours, tmp_path / 'work', dict(interval=1, k=5)), tmp_path
    )
    assert code == 0, text
    assert re.findall(r'Epoch (\d): kNN 100\.00 %', text) == ['1', '2', '3']


@pytest.mark.slow
@pytest.mark.parametrize('minutes', [1, 0.1])
def test_a_long_probe_has_its_own_limit(minutes, colours, tmp_path):
    """A probe of 12 s, where collective operations of the training may take 8."""
    cfg = config(colours, tmp_path / 'work', dict(interval=1, k=5))
    cfg.env_cfg.dist_cfg.timeout = 8
    cfg.env_cfg.main_process_minutes = minutes
    cfg.custom_imports.imports.append('slow_probe')
    code, text = train_in_two_processes(cfg, tmp_path)
    if minutes == 1:
        assert code == 0, text
    else:
        assert code and 'ProbeHook: some processes did not finish' in text
        assert 'env_cfg.main_process_minutes=0.1' in text


SLOW_METRIC = """
import time
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from lomar.engine import Runner

class Slow(BaseMetric):
    default_prefix = 'slow'
    def process(self, batch, samples):
        self.results.append(1)
    def compute_metrics(self, results):
        time.sleep(6)
        return dict(count=len(results))

runner = Runner.__new__(Runner)
runner._distributed, runner._launcher = True, 'pytorch'
runner.setup_env(dict(dist_cfg=dict(backend='gloo', timeout=3)))
metric = Slow()
metric.process(None, None)
print('found', metric.evaluate(2))
"""


@pytest.mark.slow
def test_a_long_evaluation_has_its_own_limit(tmp_path):
    """Metrics that take 6 s, where collective operations may take 3."""
    (tmp_path / 'evaluate.py').write_text(SLOW_METRIC)
    done = run_ranks(tmp_path / 'evaluate.py', count=2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("found {'slow/count': 2}") == 2


@pytest.mark.parametrize('minutes', [0, -1, float('nan'), None, True, 'abc'])
def test_limits_that_are_refused(minutes):
    runner = Runner.__new__(Runner)
    runner._launcher = 'none'
    with pytest.raises(ValueError, match=r'main_process_minutes is .*allowed: more than 0'):
        runner.setup_env(dict(main_process_minutes=minutes))


@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)])
def test_generators_and_modes_are_put_back(device):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout()).to(device).train()
    model[1].eval()

    def draw():
        return random.random(), np.random.rand(), torch.rand(1), torch.rand(1, device=device)

    def seed():
        random.seed(0), np.random.seed(0), torch.manual_seed(0)

    seed()
    expected = draw()
    seed()
    with pytest.raises(KeyError), undisturbed(model):
        assert not any(module.training for module in model.modules())
        draw()
        raise KeyError
    assert draw() == expected
    assert [module.training for module in model] == [True, False]


def test_mae_encodes_whole_images():
    init_default_scope('mmpretrain')
    arch = dict(embed_dims=48, num_layers=3, num_heads=3, feedforward_channels=192)
    norm = dict(type='SelfSupDataPreprocessor', mean=[10, 20, 30], std=[50, 60, 70])
    model = MODELS.build(
        dict(
            type='MAE',
            data_preprocessor=norm,
            backbone=dict(type='MAEViT', arch=arch, img_size=64, patch_size=8),
        )
    )
    randomised(model.backbone)
    ours = RPEViT(TINY_ARCH, 64, 8, position='absolute')
    transfer_backbone(model.backbone.state_dict(), ours)
    images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    mean, std = (torch.tensor(norm[name]).view(3, 1, 1) for name in ('mean', 'std'))
    with torch.no_grad():
        expected = ours((images - mean) / std)[0][:, 1:].mean(dim=1)
    torch.testing.assert_close(encode(model, images), expected)
    swapping = MODELS.build({**norm, 'to_rgb': True})
    model.data_preprocessor = swapping
    torch.testing.assert_close(encode(model, images), expected)


def wrong(colours, what):
    """Settings of the hook after something was made wrong."""
    probe = dict(k=5)
    if what == 'a missing folder':
        colours.rename(colours.parent / 'elsewhere')
    elif what == 'one class':
        (colours / 'red').rename(colours.parent / 'red')
        (colours / 'blue').rename(colours.parent / 'blue')
    elif what == 'an empty class':
        (colours / 'grey').mkdir()
    elif what == 'no classes':
        (colours / 'red').rename(colours.parent / 'red')
        return dict(k=5, images=str(colours.parent / 'red'))
    elif what == 'few images':
        probe = dict(k=25)
    elif what == 'a damaged image':
        (colours / 'red/3.png').write_text('no image')
    return probe


@pytest.mark.parametrize(
    ('what', 'error'),
    [
        ('a missing folder', r'colours does not exist.\nAllowed is a folder with one folder'),
        ('no classes', r'there are no class folders in .*red'),
        ('one class', r"has the single class \['green'\]"),
        ('an empty class', r"no image of their own, such as \['grey'\]"),
        ('few images', r'ProbeHook\.k is 25, and there are 24 images'),
        ('a damaged image', r'red/3\.png: UnidentifiedImageError'),
    ],
)
def test_errors_before_the_first_step(colours, tmp_path, photographs, what, error):
    probe = wrong(colours, what)
    cfg = config(colours, tmp_path / 'work', None)
    cfg.train_dataloader.dataset.data_root = str(photographs)
    cfg.custom_hooks = [dict(dict(type='ProbeHook', images=str(colours)), **probe)]
    runner = Runner.from_cfg(cfg)
    with pytest.raises((ValueError, OSError), match=error):
        runner.train()
    assert runner.iter == 0


def test_refuses_other_models_loops_and_settings(colours, tmp_path):
    cfg = config(colours, tmp_path / 'work', dict(k=5))
    runner = Runner.from_cfg(deepcopy(cfg))
    runner.model.backbone.out_type = 'featmap'
    with pytest.raises(ValueError, match=r'cannot encode whole images with a LoMaR whose backbone'):
        runner.train()
    cfg.train_cfg = dict(type='ReplayIterLoop', max_iters=2)
    cfg.train_dataloader.sampler.type = 'InfiniteReplaySampler'
    cfg.experiment_name += '_iter'
    with pytest.raises(ValueError, match=r'interval counts epochs, and train_cfg counts iter'):
        Runner.from_cfg(cfg).train()
    for setting in (dict(interval=0), dict(temperature=0.0), dict(val_share=1.0)):
        (name,) = setting
        with pytest.raises(ValueError, match=rf'ProbeHook\.{name} is .*; allowed'):
            HOOKS.build(dict(type='ProbeHook', images='x', **setting))
