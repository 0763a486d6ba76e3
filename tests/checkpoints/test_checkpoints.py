"""Files are opened weights-only and appear whole or not at all."""

import argparse
import os
import pickle
import subprocess
import sys
from collections import OrderedDict

import pytest
import torch
from conftest import TINY_ARCH, tiny_lomar
from mmengine.logging import MessageHub
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import _load_checkpoint, save_checkpoint
from safetensors.torch import save_file

from lomar.checkpoints import from_official, load_file, rename, transfer_backbone, unwrap
from lomar.models import RPEViT


class Trap:
    """Runs code when it is unpickled by a careless loader."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def test_training_checkpoints_open(tmp_path):
    hub = MessageHub.get_instance('test_checkpoints')
    hub.update_scalar('train/loss', torch.tensor(0.5).item())
    content = dict(
        state_dict=OrderedDict(weight=torch.arange(3.0)),
        message_hub=hub.state_dict(),
        meta=dict(epoch=3, cfg='a = 1'),
    )
    path = str(tmp_path / 'epoch_3.pth')
    save_checkpoint(content, path)
    loaded = _load_checkpoint(path)  # what load_from and resume go through
    assert torch.equal(loaded['state_dict']['weight'], torch.arange(3.0))
    assert loaded['message_hub']['log_scalars']['train/loss'].current() == 0.5


def test_official_files_open_with_their_arguments(tmp_path):
    arguments = argparse.Namespace(model='mae_vit_base_patch16', mask_ratio=0.8)
    torch.save(dict(model={'a': torch.ones(1)}, args=arguments), tmp_path / 'official.pth')
    assert load_file(tmp_path / 'official.pth')['args'].mask_ratio == 0.8


def test_safetensors_open(tmp_path):
    save_file({'a': torch.ones(2)}, tmp_path / 'a.safetensors')
    assert torch.equal(load_file(tmp_path / 'a.safetensors')['a'], torch.ones(2))


@pytest.mark.parametrize('save', [torch.save, lambda x, p: p.write_bytes(pickle.dumps(x))])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, save):
    trace, path = tmp_path / 'trace', tmp_path / 'trap.pth'
    save(dict(state_dict=Trap(trace)), path)
    for load in (load_file, lambda path: _load_checkpoint(str(path))):
        with pytest.raises(ValueError, match=r'trap\.pth was refused.*could run code'):
            load(path)
    assert not trace.exists()


def test_code_in_a_file_of_a_model_zoo_is_refused_and_not_run(tmp_path, monkeypatch):
    trace, path = tmp_path / 'trace', tmp_path / 'trap.pth'
    torch.save(dict(state_dict=Trap(trace)), path)
    monkeypatch.setattr(mmengine_checkpoint, 'get_external_models', lambda: {'trap': str(path)})
    with pytest.raises(pickle.UnpicklingError):
        _load_checkpoint('openmmlab://trap')
    assert not trace.exists()


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'checkpoint .*absent\.pth does not exist'):
        load_file(tmp_path / 'absent.pth')
    for name, save in (('cut.pth', torch.save), ('cut.safetensors', save_file)):
        path = tmp_path / name
        save({'a': torch.ones(1000)}, path)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=rf'{name} .*it may be cut off'):
            load_file(path)


def test_a_kill_while_saving_leaves_the_old_file(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    save_checkpoint({'a': 1}, str(path))
    code = (
        'import os, signal, lomar.register\n'
        'from mmengine.runner.checkpoint import save_checkpoint\n'
        'os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)\n'
        f'save_checkpoint({{"a": 2}}, {str(path)!r})\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, check=False)
    assert done.returncode == -9
    assert load_file(path) == {'a': 1}
    save_checkpoint({'a': 3}, str(path))
    assert load_file(path) == {'a': 3}


def test_from_official(official):
    _, weights, _ = official('official_pretrain_tiny.npz')
    backbone = from_official(weights, 'backbone')
    assert backbone.keys() == weights.keys() - {
        'pos_embed', 'mask_token', 'encoder_pred.weight', 'encoder_pred.bias'
    }  # fmt: skip
    missing = tiny_lomar().backbone.load_state_dict(backbone, strict=False)
    assert missing.missing_keys == ['mask_token'] and missing.unexpected_keys == []
    with pytest.raises(ValueError, match=r"target='classifier' needs 'head\.weight'"):
        from_official(weights, 'classifier')
    with pytest.raises(ValueError, match='allowed: pretrain, backbone, classifier'):
        from_official(weights, 'encoder')


def vit(fill=0.0):
    state = RPEViT(TINY_ARCH, 64, 8).state_dict()
    return {name: torch.full_like(value, fill) for name, value in state.items()}


def under(prefix, weights):
    return {prefix + name: value for name, value in weights.items()}


@pytest.mark.parametrize(
    'wrap',
    [
        lambda w: w,
        lambda w: dict(state_dict=w, meta=dict(epoch=1)),
        lambda w: dict(model=w, args=argparse.Namespace(lr=1)),
        lambda w: dict(module=w),
        lambda w: dict(model=dict(state_dict=w)),
        lambda w: dict(state_dict_ema=w),
        lambda w: dict(state_dict=under('module.', w)),
        lambda w: dict(state_dict=under('model.', w) | {'loss.scale': torch.zeros(1)}),
        lambda w: dict(state_dict=under('module.model.', w)),
        lambda w: dict(state_dict=under('_orig_mod.', w)),
        lambda w: dict(state_dict=under('module._orig_mod.backbone.', w)),
        lambda w: dict(state_dict=under('backbone.', w) | {'neck.weight': torch.zeros(1)}),
        lambda w: dict(state_dict=under('encoder.', w)),
        lambda w: {n.replace('blocks.1.', 'blocks.1._orig_mod.'): v for n, v in w.items()},
    ],
)
def test_weights_are_found_whatever_wraps_them(wrap):
    weights = vit(0.5)
    found = rename(unwrap(wrap(weights)))
    assert weights.keys() <= found.keys()
    backbone = RPEViT(TINY_ARCH, 64, 8, final_norm=True)
    transfer_backbone(unwrap(wrap(weights)), backbone, allow=['loss.scale'])
    assert all((value == 0.5).all() for value in backbone.state_dict().values())


def test_a_moving_average_is_a_choice(monkeypatch):
    content, lines = dict(state_dict=vit(0.0), state_dict_ema=vit(1.0)), []
    monkeypatch.setattr(sys.modules[unwrap.__module__], 'print_log', lambda m, **_: lines.append(m))
    assert not unwrap(content)['norm.weight'].any()
    assert len(lines) == 1 and "weights='ema'" in lines[0]
    assert unwrap(content, 'ema')['norm.weight'].all()
    with pytest.raises(
        ValueError, match=r"weights is 'ema', but the file has none of the keys state_dict_ema"
    ):
        unwrap(dict(state_dict=vit()), 'ema')
    with pytest.raises(ValueError, match=r"weights is 'best'; allowed: plain, ema"):
        unwrap(content, 'best')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (
            {},
            'holds no state dict; allowed: a state dict as a whole, or under "state_dict", "model"',
        ),
        (dict(teacher=vit(), student=vit()), 'holds no tensors under teacher, student; allowed'),
        (dict(state_dict=dict(a=1)), 'holds no tensors under a; allowed'),
    ],
)
def test_content_without_weights_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        unwrap(content)


@pytest.mark.parametrize('prefixes', [['student.'], ['teacher.backbone.', 'student.backbone.']])
def test_weights_of_another_place_are_refused_by_name(prefixes):
    weights = {name: value for prefix in prefixes for name, value in under(prefix, vit()).items()}
    with pytest.raises(ValueError, match=f'are under {", ".join(sorted(prefixes))}; allowed'):
        rename(weights)
