"""Weights of a checkpoint for the model of a run: all for testing, what fits for training."""

from mmengine.config import Config
from mmengine.runner import BaseLoop

from lomar.checkpoints import transfer_model, unwrap
from lomar.checkpoints.class_names import stored_classes
from lomar.checkpoints.files import OWN_CONFIG, misfit_as_value_error, naming
from lomar.checkpoints.trained_settings import changes
from lomar.checkpoints.unwrap import shapes
from lomar.engine.class_order import advising_on_classes, check_order, reordered
from lomar.utils import unwrapped


def load_weights(runner, filename: str, content: dict) -> None:
    """Load the weights of a checkpoint into the runner's model.

    For testing, the file must have all weights of the model. For training, what fits is loaded from
    the file, which may come from another project.

    Args:
        content: content of the file `filename`.

    Raises:
        ValueError: weights for testing do not fit, their classes are not the tested ones, or the
            file has no state dict.
        TransferError: weights for training do not fit. `transfer=dict(allow=[...])` in the config
            lists patterns of names that may be missing or unexpected; `weights='ema'` in it takes
            the moving average that is beside plain weights.
    """
    transfer = transfer_settings(runner.cfg)
    model, learnt = unwrapped(runner.model), stored_classes(content)
    loop = runner._train_loop  # None: a test
    with naming(filename), advising_on_classes(learnt), misfit_as_value_error(OWN_CONFIG):
        weights = unwrap(content, transfer.get('weights', 'plain'))
        if learnt and loop is None:
            check_order(learnt, runner.test_dataloader.dataset)
        if loop is None or shapes(weights) == shapes(model.state_dict()):
            model.load_state_dict(weights)
            runner.logger.info(f'All weights of the model loaded from {filename}')
        else:
            _transfer(runner, filename, weights, transfer.get('allow', ()))
        _check_settings(runner, content, transfer.get('allow', ()))
    if isinstance(loop, BaseLoop) and (note := reordered(learnt, loop.dataloader.dataset)):
        runner.logger.warning(f'{filename}: {note}')


def transfer_settings(cfg: Config) -> dict:
    """Return `transfer` of a config; raise a ValueError for a key that nothing reads."""
    settings = cfg.get('transfer') or {}
    if unknown := set(settings) - {'allow', 'weights'}:
        raise ValueError(f'transfer has {sorted(unknown)}; allowed: allow, weights')
    return settings


def _transfer(runner, filename: str, weights: dict, allow) -> None:
    report = transfer_model(weights, unwrapped(runner.model), allow)
    runner.logger.info(f'{report.loaded} loaded from {filename}:\n{report}')
    if report.misfits:
        runner.logger.warning(
            f'{len(report.misfits)} weights of {filename} have other shapes than in this model '
            f'and start with new values: {", ".join(report.misfits)}'
        )


def _check_settings(runner, content: dict, allow) -> None:
    """Compare settings that the shapes of the weights do not show with those of the training.

    Other heads or relative positions, and for testing another normalization, raise a ValueError
    unless `allow` lists them. Training with another normalization gets a warning.
    """
    for change in changes(content, runner.cfg):
        if change.key in allow:
            continue
        if runner._train_loop is None or change.key.startswith('backbone.'):
            raise ValueError(
                f'{change}, which the shapes of the weights do not show; allowed: the value of the '
                f"training, or transfer=dict(allow=['{change.key}'])"
            )
        runner.logger.warning(f'{change}: the weights were trained with the first value')
