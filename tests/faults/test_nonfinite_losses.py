"""A loss that becomes NaN or infinite: the training stops, and the step can be computed again."""

import re

import pytest
from trainings import one_line, train, words

from lomar.checkpoints import load_file
from lomar.cli import main

DIVERGES = ['optim_wrapper.optimizer.lr=1e25', 'param_scheduler=None']
# The flags are read after steps 3, 6 and so on.
DIVERGES += ['default_hooks.logger.interval=3', 'default_hooks.checkpoint.interval=50']


@pytest.mark.fault(
    'A loss or gradient becomes NaN or infinite, also with bf16 and with accumulation',
    'The training stops at the next line of the log with exit code 1 and one line. The weights are '
    'those before the bad step. `lomar replay` computes the same loss again from the saved batch.',
)
@pytest.mark.parametrize(
    ('task', 'options'),
    [
        ('pretraining', []),
        *(
            pytest.param(*row, marks=pytest.mark.long)
            for row in [
                ('pretraining', ['optim_wrapper.accumulative_counts=2']),
                ('classification', []),
                ('detection', []),
                (
                    'detection',
                    ['optim_wrapper.type=AmpOptimWrapper', 'optim_wrapper.dtype=bfloat16'],
                ),
            ]
        ),
    ],
)
def test_the_training_stops(task, options, shapes, tmp_path, capsys):
    text = train(words(task, shapes, tmp_path / 'run', *DIVERGES, *options), code=1)
    (step, file) = re.search(r'of step (\d+) is NaN or infinite.* in (\S+\.pth),', text).groups()
    one_line(text, 'lomar train: ', 'lomar replay', 'action=skip')
    content = load_file(file)
    assert all(
        each.isfinite().all() for each in content['state_dict'].values() if each.is_floating_point()
    )
    assert 1 < int(step) <= 4 and content['meta']['iter'] + 1 >= int(step)
    assert main(['replay', file, '--device', 'cpu']) == 0
    assert re.search(f'step {step}: .*(nan|inf)', capsys.readouterr().out)
