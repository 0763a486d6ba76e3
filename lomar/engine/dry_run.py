"""Dry run: everything is checked and built, and nothing is trained or written."""

from tempfile import TemporaryDirectory

from mmengine.config import Config
from mmengine.runner import BaseLoop

from lomar.engine.resume import checkpoint_to_resume
from lomar.engine.runner import Runner
from lomar.engine.startup_log_hook import model_line, notes, summary
from lomar.utils import unwrapped


class DryRunner(Runner):
    """Runner whose loops load one batch per dataloader and run no steps."""

    lines: list[str]

    def build_train_loop(self, loop) -> BaseLoop:
        return self._without_steps(super().build_train_loop(loop))

    def build_test_loop(self, loop) -> BaseLoop:
        return self._without_steps(super().build_test_loop(loop))

    def _without_steps(self, loop: BaseLoop) -> BaseLoop:
        loop.run = lambda: self._load_batches(loop, self._val_loop)
        return loop

    def _load_batches(self, *loops: BaseLoop | None) -> None:
        self.lines = [model_line(unwrapped(self.model))]
        if self._train_loop is not None:
            self.lines = [*summary(self), *(f'note       {note}' for note in notes(self))]
        for loop in filter(None, loops):
            next(iter(loop.dataloader))
            data, size = loop.dataloader.dataset, loop.dataloader.batch_sampler.batch_size
            use = 'training' if loop is self._train_loop else 'evaluation'
            self.lines.append(f'loaded     one batch of {size} of the {len(data)} {use} images')


def dry_run(cfg: Config) -> str:
    """Build the run of `cfg`, load the weights and one batch per dataloader; return a summary.

    Log and config are written to a temporary folder.
    """
    work_dir = cfg.work_dir
    if cfg.get('resume') and not cfg.get('load_from'):
        cfg.load_from = checkpoint_to_resume(work_dir)
    with TemporaryDirectory() as folder:
        # mmengine keeps loggers and visualizers by this name, also of an earlier dry run.
        cfg.work_dir = cfg.experiment_name = folder
        if cfg.get('visualizer'):  # no run of a tracker
            cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
        runner = DryRunner.from_cfg(cfg)
        run = runner.test if cfg.get('train_cfg') is None else runner.train
        run()
    return '\n  '.join(['Dry run: nothing was trained, nothing written.', *runner.lines])
