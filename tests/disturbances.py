"""Hook that disturbs a training in its own process; configs of tests import this module."""

import os
import signal
import time

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Disturb(Hook):
    """Hook that does what the environment variable DISTURB says: words, separated by spaces.

    'hang STEP [RANK]': a step that never ends. 'slow RANK': steps that take half a second longer.
    'evaluate': slow batches of an evaluation.
    'clock STEP SECONDS': the clock of the machine jumps. 'write NUMBER': the process is killed in
    the middle of its checkpoint with this number, from 0.
    """

    def __init__(self):
        self.what, *numbers = os.environ.get('DISTURB', 'nothing').split()
        self.numbers = [int(number) for number in numbers]

    def before_train(self, runner):
        if self.what == 'write':
            fsync = os.fsync

            def kill(file):
                self.numbers[0] -= 1
                if self.numbers[0] < 0:
                    os.ftruncate(os.open(f'/proc/self/fd/{file}', os.O_RDWR), 1000)
                    os.kill(os.getpid(), signal.SIGKILL)
                fsync(file)

            os.fsync = kill

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        due = self.numbers[:1] == [runner.iter]
        if self.what == 'hang' and due and get_rank() in (self.numbers[1:] or [get_rank()]):
            print('this step hangs', flush=True)
            while True:
                time.sleep(1)
        if self.what == 'slow' and self.numbers == [get_rank()]:
            print('this step is slow', flush=True)
            time.sleep(0.5)
        if self.what == 'clock' and due:
            clock, nanoseconds = time.time, time.time_ns
            time.time = lambda: clock() + self.numbers[1]
            time.time_ns = lambda: nanoseconds() + self.numbers[1] * 10**9
            print('the clock has jumped', flush=True)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.what == 'evaluate':
            print('evaluating', flush=True)
            time.sleep(1)
