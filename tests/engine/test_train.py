"""The real commands, as processes, at toy size."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from PIL import Image
from processes import run_lomar, run_ranks

from lomar.checkpoints import load_file
from lomar.cli import demo, main, parse_args
from lomar.engine import Runner, train_config
from lomar.engine.resume import latest_checkpoint

CONFIG = ROOT / 'mmconfigs/shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes.py'
TOY = [
    'model.backbone.arch.depth=2',
    'model.backbone.arch.embed_dim=32',
    'model.backbone.drop_path_rate=0.2',  # one more source of randomness to be replayed
    'train_dataloader.batch_size=4',
    'default_hooks.checkpoint.interval=1',
    'default_hooks.logger.interval=1',
]


def run(name, *arguments, code=0, cwd=None):
    done = run_lomar(name, *arguments, cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def train(images, work_dir, epochs, *options, code=0):
    return run(
        'train',
        *(CONFIG, '--train-images', images, '--work-dir', work_dir),
        *('--cfg-options', f'train_cfg.max_epochs={epochs}', *TOY, *options),
        code=code,
    )


def config(*arguments):
    return train_config(parse_args(['train', str(CONFIG), *map(str, arguments)]))


@pytest.mark.slow
def test_demo(tmp_path):
    text = run('demo', '--work-dir', tmp_path, '--epochs', 2, '--num-images', 640)
    outcome = json.loads((tmp_path / 'demo.json').read_text())
    assert outcome['loss'] < 0.95, 'no better than the mean of each patch'
    metrics = json.loads((tmp_path / 'detect/metrics.json').read_text())
    assert outcome['metrics'] == metrics['metrics'] and 'bbox' in outcome['metrics']
    assert text.count('Backbone loaded from') == 1
    for picture in (
        tmp_path / 'loss.png',
        tmp_path / 'detections.png',
        tmp_path / 'reconstructions/china.png',
        tmp_path / 'pretrain/reconstructions/iter_0000040.png',
    ):
        assert str(picture.parent) in text
        assert max(high - low for low, high in Image.open(picture).convert('RGB').getextrema()) > 99
    # A summary instead of mmengine's thousands of lines, and everything that issue readers ask for.
    # A slow machine prints more states of the progress bars.
    lines = [line for line in text.splitlines() if 'img/s]' not in line]
    assert len(lines) < 110
    for words in (
        '39 of 49 masked',
        'eta: ',
        'lr: ',
        'images_per_second: ',
        'data_wait: ',
        'memory',
    ):
        assert words in text


@pytest.mark.slow
def test_demo_on_ones_own_images(photographs, tmp_path, monkeypatch, capsys):
    """The images change the pretraining alone, so the detector is left out."""
    work = tmp_path / 'work'
    figures = dict(AP=12.34, AP50=56.78)
    monkeypatch.setattr(demo, 'call', run)
    monkeypatch.setattr(demo, 'detect', lambda *_: dict(bbox=figures, segm=figures))
    options = ('--images', photographs, '--work-dir', work, '--epochs', 1, '--num-images', 36)
    assert main(['demo', *map(str, options)]) == 0
    text = capsys.readouterr().out
    assert 'reconstructions of your images' in text
    assert 'box AP50 56.8 % (AP 12.3 %), mask AP50 56.8 % (AP 12.3 %)' in text
    drawn = (work / 'images.txt').read_text().splitlines()
    assert {drawn.count(str(path)) for path in photographs.iterdir()} == {4, 5}  # 36 of 8
    assert (work / 'pretrain/reconstructions/iter_0000001.png').exists()  # 36 are one batch


@pytest.mark.slow
def test_a_killed_and_resumed_run_ends_with_the_same_bytes(photographs, tmp_path):
    train(photographs, tmp_path / 'whole', 8)
    arguments = (CONFIG, '--train-images', photographs, '--work-dir', tmp_path / 'killed')
    options = ('--cfg-options', 'train_cfg.max_epochs=8', *TOY)
    command = [sys.executable, '-m', 'lomar', 'train', *arguments, *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.time() + 120
    while not (tmp_path / 'killed/epoch_2.pth').exists() and time.time() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / 'killed/epoch_8.pth').exists(), 'ended before it could be killed'
    text = run('train', *arguments, '--resume', '--tensorboard', *options)
    assert re.search(r'resumed epoch: [2-7], iter: \d+', text)
    whole, resumed = (load_file(tmp_path / name / 'epoch_8.pth') for name in ('whole', 'killed'))
    assert whole['state_dict'].keys() == resumed['state_dict'].keys()
    for name, value in whole['state_dict'].items():
        assert torch.equal(value, resumed['state_dict'][name]), name
    torch.testing.assert_close(whole['optimizer'], resumed['optimizer'], atol=0, rtol=0)
    assert list((tmp_path / 'killed').glob('*/vis_data/events.out.tfevents.*'))
    assert not (tmp_path / 'killed/epoch_1.pth').exists(), 'three are kept'


@pytest.mark.slow
def test_unreadable_images_do_not_stop_a_run_unless_they_are_many(photographs, tmp_path):
    (photographs / '3.jpg').write_text('no image')
    text = train(photographs, tmp_path / 'a', 2, 'custom_hooks.3.max_share=0.2')
    assert len(re.findall(r'Unreadable image replaced: .*3\.jpg', text)) == 1
    assert '1 unreadable images were replaced' in text
    (photographs / '5.jpg').write_bytes(b'')
    text = train(photographs, tmp_path / 'b', 2, 'custom_hooks.3.max_share=0.2', code=1)
    assert re.search(
        r'lomar train: 2 of 8 images are unreadable, more than the share of 0\.2', text
    )
    assert 'Traceback' not in text


@pytest.mark.slow
def test_reconstruct_takes_any_image(photographs, tmp_path, official):
    train(photographs, tmp_path / 'w', 1)
    big = tmp_path / 'big.png'
    Image.effect_noise((333, 127), 90).convert('RGBA').save(big)
    out = tmp_path / 'out'
    options = (CONFIG, tmp_path / 'w/epoch_1.pth', big, photographs, '--out', out)
    text = run('reconstruct', *options, code=1)
    assert 'state_dict' in text  # the config's model is larger than the one that was trained
    toy = tmp_path / 'toy.py'
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict({'model.backbone.arch.depth': 2, 'model.backbone.arch.embed_dim': 32})
    cfg.dump(toy)
    run('reconstruct', toy, *options[1:])
    assert len(list(out.rglob('*.png'))) == 9
    assert Image.open(out / 'big.png').width > 4 * 332
    assert 'absent.pth does not exist' in run(
        'reconstruct', toy, tmp_path / 'absent.pth', big, code=1
    )


def test_missing_data_is_said_before_anything_is_built(tmp_path):
    config_file = ROOT / 'mmconfigs/lomar_pretrain.py'
    text = run('train', config_file, code=1, cwd=tmp_path)
    assert 'data/imagenet/train does not exist' in text
    assert 'lomar shapes --out data/shapes' in text
    assert 'Traceback' not in text and not list(tmp_path.iterdir())


def test_images_to_draw_without_a_hook_that_draws(photographs, capsys):
    for options, noted in (([], False), (['--cfg-options', 'custom_hooks=[]'], True)):
        config('--train-images', photographs, '--val-images', photographs, *options)
        said = capsys.readouterr()
        assert ('has no effect: no hook draws rec' in said.out + said.err) is noted


def test_fewer_images_than_a_batch_are_refused_before_the_first_step(photographs, tmp_path):
    text = train(photographs, tmp_path, 1, 'train_dataloader.batch_size=9', code=1)
    assert 'batch_size is 9, but 8 training images on 1 process(es) give only 8 images' in text
    assert 'allowed: train_dataloader.batch_size=8 or less' in text
    assert 'Epoch(train)' not in text and not list(tmp_path.glob('*.pth'))
    # As many as fit, of which the last three do not fill a batch.
    text = train(photographs, tmp_path, 1, 'train_dataloader.batch_size=5')
    assert '8 images, 1 steps per epoch' in text and re.search(r'Epoch\(train\) .*\[1/1\]', text)


def test_batches_of_an_infinite_sampler_are_complete(photographs, tmp_path):
    options = (
        'train_dataloader.batch_size=9',
        'train_dataloader.sampler.type=InfiniteReplaySampler',
    )
    arguments = ('--train-images', photographs, '--work-dir', tmp_path)
    cfg = config(*arguments, '--cfg-options', *TOY, *options)
    cfg.train_cfg, cfg.param_scheduler = dict(type='ReplayIterLoop', max_iters=2), None
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.train_dataloader.drop_last and runner.iter == 2


@pytest.mark.slow
def test_fewer_images_than_a_batch_of_each_process(photographs, tmp_path):
    flags = ('--launcher', 'pytorch', '--train-images', photographs, '--work-dir', tmp_path)
    options = ('--cfg-options', *TOY, 'train_dataloader.batch_size=5')
    done = run_ranks('-m', 'lomar', 'train', CONFIG, *flags, *options, count=2)
    assert done.returncode and '8 training images on 2 process(es) give only 4' in done.stderr
    assert 'train_dataloader.batch_size=4 or less' in done.stderr


def test_a_flag_wins_over_options_which_win_over_the_file(photographs, tmp_path):
    images = ('--train-images', photographs)
    cfg = config(*images, '--cfg-options', 'work_dir=b', 'train_cfg.max_epochs=3')
    assert (cfg.work_dir, cfg.train_cfg.max_epochs) == ('b', 3)
    cfg = config(*images, '--work-dir', 'c', '--cfg-options', 'work_dir=b', 'resume=False')
    assert cfg.work_dir == 'c'
    assert config(*images).work_dir == f'work_dirs/{CONFIG.stem}'
    checkpoint = tmp_path / 'x.pth'
    with pytest.raises(FileNotFoundError, match=r'--resume: .*x\.pth does not exist'):
        config(*images, '--resume', checkpoint)
    checkpoint.touch()
    assert config(*images, '--resume', checkpoint).load_from == str(checkpoint)
    # Without a name: the newest in the work dir, or, at a first start, what the config begins with.
    resume = (*images, '--resume', '--work-dir', tmp_path / 'w')
    resume = (*resume, '--cfg-options', 'resume=False', f'load_from={checkpoint}')
    cfg = config(*resume)
    assert not cfg.resume and cfg.load_from == str(checkpoint)
    (tmp_path / 'w').mkdir()
    (tmp_path / 'w/epoch_3.pth').touch()
    Config.fromfile(CONFIG).dump(tmp_path / 'w/config.py')  # a copied work dir
    copied = ['train', str(tmp_path / 'w/config.py'), *map(str, images), '--resume']
    with pytest.raises(ValueError, match=rf'has epoch_3\.pth; allowed: --work-dir {tmp_path}/w to'):
        train_config(parse_args(copied))
    cfg = config(*resume)
    assert cfg.resume is True and cfg.load_from == str(tmp_path / 'w/epoch_3.pth')
    options = ('--cfg-options', 'train_dataloader.dataset.data_root=/nowhere')
    assert config(*images, *options).train_dataloader.dataset.data_root == str(photographs)
    cfg = config(*images, '--amp', '--no-persistent-workers', '--no-pin-memory')
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert not cfg.train_dataloader.persistent_workers and not cfg.train_dataloader.pin_memory
    assert config(*images).train_dataloader.persistent_workers
    with pytest.raises(ValueError, match=r"nothing reads 'modle' in the config; nearest: model$"):
        config(*images, '--cfg-options', 'modle.windows.size=5')


def test_auto_scale_lr_counts_accumulation(photographs, tmp_path):
    options = ('--cfg-options', 'optim_wrapper.accumulative_counts=4', *TOY)
    arguments = ('--train-images', photographs, '--work-dir', tmp_path, '--amp')
    cfg = config(*arguments, '--auto-scale-lr', *options)
    runner = Runner.from_cfg(cfg)
    wrapper = runner.build_optim_wrapper(cfg.optim_wrapper)
    runner.scale_lr(wrapper, runner.auto_scale_lr)
    rates = {group['lr'] for group in wrapper.optimizer.param_groups}
    assert rates == {2e-3 * 4 * 4 / 32}  # batch x accumulation / base_batch_size
    assert wrapper.get_lr()['base_lr'] == list(rates)  # the log shows this one
    with pytest.raises(ValueError, match=r'--auto-scale-lr: the config has no .*base_batch_size'):
        config(*arguments, '--auto-scale-lr', *options, 'auto_scale_lr=None')


def test_latest_checkpoint_is_the_newest_whole_one(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    for number, name in enumerate(('epoch_9.pth', 'epoch_10.pth', 'best_loss.pth', 'notes_3.pth')):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (number, number))
    (tmp_path / 'last_checkpoint').write_text('')
    assert Path(latest_checkpoint(tmp_path)).name == 'epoch_10.pth'


def test_keeping_a_single_checkpoint_is_refused(photographs, tmp_path):
    text = train(
        photographs, tmp_path / 'work', 1, 'default_hooks.checkpoint.max_keep_ckpts=1', code=1
    )
    assert 'max_keep_ckpts is 1: a run killed while it saves' in text
