"""The benchmark: its plain models are the same models, and its bookkeeping is right."""

import json
import re

import pytest
import torch
from conftest import DEVICE, ROOT, TINY_ARCH, randomised, tiny_lomar
from mmengine.registry import MODELS
from processes import run_python

from benchmarks.speed import report, timing
from benchmarks.speed.contenders import CONTENDERS, build
from benchmarks.speed.plain import PlainLoMaR, make_plain
from benchmarks.speed.steps import Setting, measure
from lomar.models import RPEViT
from lomar.models.architectures import ARCHS


def test_the_package_needs_nothing_of_the_checkout():
    outside = re.compile(r'^ *(from|import) (benchmarks|tests|tools)\b|parents\[[2-9]', re.M)
    found = [path for path in (ROOT / 'lomar').rglob('*.py') if outside.search(path.read_text())]
    assert not found


def test_rivals_are_not_registered_for_users():
    assert MODELS.get('PlainLoMaR') is None and MODELS.get('FullTokenModel') is None


@pytest.fixture
def small(monkeypatch):
    """The architecture 'tiny' made tinier."""
    monkeypatch.setitem(ARCHS, 'tiny', dict(embed_dim=48, depth=4, num_heads=3))


def gradients(loss, model):
    model.zero_grad()
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize('size', [(64, 64), (40, 72)])
def test_plain_lomar_is_lomar(size):
    model = randomised(tiny_lomar()).double()
    plain = PlainLoMaR(
        backbone=dict(type='LoMaRViT', arch=TINY_ARCH, img_size=64, patch_size=8),
        windows=dict(size=3, number=2),
        head=dict(type='WindowPixelHead'),
    ).double()
    plain.load_state_dict(model.state_dict())
    images = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(0)).double()
    results = []
    for one in (model, plain):
        torch.manual_seed(0)  # the same windows and masks
        loss = one.loss(images)['loss']
        results.append((loss, gradients(loss, one)))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize('position', ['irpe', 'absolute', 'absolute+decomposed'])
def test_plain_backbone_is_the_backbone(position):
    settings = dict(position=position, with_cls_token=False, window_size=3, global_blocks=[1])
    model, plain = (
        randomised(RPEViT(TINY_ARCH, 64, 8, out_type='featmap', **settings)) for _ in range(2)
    )
    make_plain(plain)
    images = torch.randn(2, 3, 40, 72, generator=torch.Generator().manual_seed(0))
    outputs = [one(images)[0] for one in (model, plain)]
    torch.testing.assert_close(*outputs)
    grads = [
        gradients(output.square().mean(), one)
        for output, one in zip(outputs, (model, plain), strict=True)
    ]
    torch.testing.assert_close(*grads)


def test_contenders_run_in_turns_and_warm_ups_do_not_count(monkeypatch):
    clock, calls = [0.0], []

    def step(name, seconds):
        calls.append(name)
        clock[0] += next(seconds)

    monkeypatch.setattr(timing.time, 'perf_counter', lambda: clock[0])
    slow, fast = iter([90, 5, 3, 10]), iter([80, 1, 2, 3])
    steps = {'slow': lambda: step('slow', slow), 'fast': lambda: step('fast', fast)}
    spreads = timing.interleave(steps, repeats=3, warmup=1)
    assert spreads == {'slow': timing.Spread(5, 3, 10), 'fast': timing.Spread(2, 1, 3)}
    assert calls == ['slow', 'fast', 'fast', 'slow', 'slow', 'fast', 'fast', 'slow']


def test_saved_bytes():
    x, layer = torch.randn(10, 4), torch.nn.Linear(4, 8)
    # The product keeps its input, the tanh its output; the weight is a parameter.
    saved = timing.saved_bytes(lambda: layer(x).tanh(), layer.parameters(), limit=1e6)
    assert saved == 4 * (10 * 4 + 10 * 8)
    with pytest.raises(timing.DoesNotFit):
        timing.saved_bytes(lambda: layer(x).tanh(), layer.parameters(), limit=200)


def test_the_batch_shrinks_to_what_fits(small):
    setting, said = Setting('pretrain', 'tiny', 128), []
    (one,) = measure(setting, ['lomar'], batch=1, repeats=1, warmup=0, memory=1e9)
    memory = 2.5e6 * one['saved_mb']
    (row,) = measure(setting, ['lomar'], 4, 1, 0, memory, said.append)
    assert row['batch'] == 2 and not said
    assert measure(setting, ['lomar'], 4, 1, 0, 1e5, said.append) == []
    assert 'lomar, pretrain, ViT-tiny, 128 px, float32: not even one image fits' in said[0]


@pytest.mark.parametrize('inference', [False, True])
def test_every_contender(inference, small, tmp_path):
    rows = []
    for task, names in CONTENDERS.items():
        setting = Setting(task, 'tiny', 128, 'bfloat16', inference)
        rows += measure(setting, list(names), batch=1, repeats=1, warmup=0)
    assert [row['model'] for row in rows] == [n for names in CONTENDERS.values() for n in names]
    flops = {row['model']: row['gflops'] for row in rows}
    assert flops['lomar'] == flops['lomar-plain'] and flops['mae'] == flops['mae-eager']
    # Tensors that are written out are saved for the backward pass.
    if not inference:
        saved = {row['model']: row['saved_mb'] for row in rows}
        assert saved['mae'] < saved['mae-eager']
    table = report.to_markdown(rows, {'bfloat16': 1e12})
    assert (
        table.count('\n| irpe') == 2 + (DEVICE == 'cuda')
        and 'pretrain, ViT-tiny, 128 px, bfloat16' in table
    )
    report.plot(rows, tmp_path / 'plot.png')
    assert (tmp_path / 'plot.png').stat().st_size > 10_000


@pytest.mark.slow
def test_the_command(tmp_path):
    out = tmp_path / 'record.json'
    words = '--models lomar mae --archs tiny --sizes 128 144 --repeats 1 --threads 1 --json'
    done = run_python('-m', 'benchmarks.speed', *words.split(), out, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert 'Matrix rate, float32' in done.stdout and '| lomar | 1 |' in done.stdout
    record = json.loads(out.read_text())
    assert record['command'].endswith(f'--json {out}') and record['hardware']['threads'] == 1
    assert [(row['model'], row['size']) for row in record['rows']] == [
        ('lomar', 128),
        ('mae', 128),
        ('lomar', 144),
        ('mae', 144),
    ]


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (('pretrain', 'lomer', 'base', 224), "--models has 'lomer'; allowed: lomar, lomar-plain"),
        (('pretrain', 'lomar', 'bass', 224), "--archs has 'bass'; allowed: tiny, small, base"),
        (('pretrain', 'lomar', 'base', 100), '--sizes has 100; allowed: multiples of 16 from 128'),
    ],
)
def test_wrong_flags(words, message):
    with pytest.raises(ValueError, match=message):
        build(*words)


def test_the_committed_record():
    record = json.loads((ROOT / 'benchmarks/speed/speed_cpu.json').read_text())
    text = (ROOT / 'docs/speed_record.md').read_text(encoding='utf-8')
    assert report.to_markdown(record['rows'], record['matrix_rates']) in text
    for row in json.loads((ROOT / 'benchmarks/speed/speed_cpu_sizes.json').read_text())['rows']:
        least, most = row['images_per_second_range']
        line = f'| {row["size"]} | {row["images_per_second"]:.3g} | {least:.3g} to {most:.3g} |'
        assert line in text
