"""A training on tar shards has the bytes of a training on files, also resumed in mid-epoch."""

import re

import pytest
import torch
from test_train import CONFIG, TOY, run

from lomar.checkpoints import load_file
from lomar.datasets.write_shards import write_shards

# Eight images in batches of two: step 5 is the second of the second epoch of four.
STEPS = f"""
_base_ = {str(CONFIG)!r}
train_cfg = dict(_delete_=True, type='ReplayIterLoop', max_iters=12, val_interval=1000)
train_dataloader = dict(batch_size=2, sampler=dict(type='InfiniteReplaySampler', shuffle=True))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=12, by_epoch=False)]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5))
custom_hooks = [*_base_.custom_hooks[:3], dict(type='UnreadableImagesHook', max_share=0.2)]
"""


def train(config, images, work_dir, *options, flags=()):
    words = (config, '--train-images', images, '--work-dir', work_dir, *flags)
    return run('train', *words, '--cfg-options', *options, *TOY[:3])


def same(first, second):
    first, second = load_file(first), load_file(second)
    assert first['state_dict'].keys() == second['state_dict'].keys()
    for name, value in first['state_dict'].items():
        assert torch.equal(value, second['state_dict'][name]), name
    torch.testing.assert_close(first['optimizer'], second['optimizer'], atol=0, rtol=0)
    assert first['meta']['run_record']['data'] == second['meta']['run_record']['data']


@pytest.mark.slow
def test_files_and_shards_train_the_same_weights(photographs, tmp_path):
    (photographs / '3.jpg').write_text('no image')  # is replaced by the same other image
    write_shards(photographs, tmp_path / 'tars', images_per_shard=3)
    shards = f'{tmp_path}/tars/{{000..002}}.tar'
    config = tmp_path / 'steps.py'
    config.write_text(STEPS)
    train(config, photographs, tmp_path / 'files')
    text = train(config, shards, tmp_path / 'shards', 'train_dataloader.num_workers=0')
    assert text.count(f'Unreadable image replaced: {tmp_path}/tars/001.tar/3.jpg') == 1
    same(tmp_path / 'files/iter_12.pth', tmp_path / 'shards/iter_12.pth')
    for images, start in ((shards, 'files'), (photographs, 'shards')):
        work, flags = tmp_path / f'from {start}', ('--resume', tmp_path / start / 'iter_5.pth')
        text = train(config, images, work, 'train_dataloader.num_workers=2', flags=flags)
        assert re.search(r'resumed .*iter: 5;', text), text
        same(tmp_path / 'files/iter_12.pth', work / 'iter_12.pth')


@pytest.mark.slow
def test_missing_and_broken_shards_stop_before_the_first_step(photographs, tmp_path):
    write_shards(photographs, tmp_path / 'tars', images_per_shard=3)
    (tmp_path / 'cut.tar').write_bytes((tmp_path / 'tars/001.tar').read_bytes()[:2000])
    for images, message in (
        (f'{tmp_path}/tars/{{000..004}}.tar', '2 of 5 shards do not exist'),
        (tmp_path / 'cut.tar', 'cut.tar is '),
    ):
        words = ('--train-images', images, '--work-dir', tmp_path / 'work')
        text = run('train', CONFIG, *words, code=1)
        assert 'lomar train: ' in text and message in text and 'Traceback' not in text
        assert not (tmp_path / 'work').exists()
