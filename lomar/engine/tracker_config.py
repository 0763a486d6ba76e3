"""Add the experiment trackers that flags name to a config, and check them."""

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import VISBACKENDS

from lomar.engine.tracker_backends import ResumingMLflowVisBackend, ResumingWandbVisBackend

MLFLOW = ('mlflow', 'sqlalchemy', 'alembic')  # the last two for its store in the work dir
# Modules that mmengine's backends import, and what pip installs.
PACKAGES = dict(
    TensorboardVisBackend=dict(tensorboard="'lomar-openmmlab[tensorboard]'"),
    WandbVisBackend=dict(wandb="'lomar-openmmlab[wandb]'"),
    MLflowVisBackend=dict.fromkeys(MLFLOW, "'lomar-openmmlab[mlflow]'"),
    ClearMLVisBackend=dict(clearml='clearml'),
    NeptuneVisBackend=dict(neptune='neptune'),
    DVCLiveVisBackend=dict(dvclive='dvclive', pygit2='dvclive'),
    AimVisBackend=dict(aim='aim'),
)
# The backends of this package that a training uses in place of mmengine's.
OWN = dict(
    WandbVisBackend=ResumingWandbVisBackend.__name__,
    MLflowVisBackend=ResumingMLflowVisBackend.__name__,
)
KEY = 'visualizer.vis_backends'


def add_trackers(cfg: Config, args: argparse.Namespace) -> None:
    """Add the backends of `--tensorboard`, `--wandb` and `--mlflow` to the config of a training.

    Raises:
        ValueError: a backend is not installed, given twice, or not a name or dict.
    """
    flags = _of_flags(args, Path(cfg.work_dir).name)
    if flags and not cfg.get('visualizer'):  # mmengine's default
        cfg.visualizer = dict(type='Visualizer', vis_backends=['LocalVisBackend'])
    if cfg.get('visualizer'):
        kinds = {flag['type'] for flag in flags}
        given = [{**node, 'type': OWN.get(node['type'], node['type'])} for node in _backends(cfg)]
        _set(cfg, [node for node in given if node['type'] not in kinds] + flags)


def keep_test_backends(cfg: Config) -> None:
    """Remove the trackers of a training from the config that it saved, because a test has none.

    Raises:
        ValueError: see `add_trackers`.
    """
    if cfg.get('visualizer'):
        _set(cfg, [node for node in _backends(cfg) if node['type'] not in OWN.values()])


def _of_flags(args: argparse.Namespace, run: str) -> list[dict]:
    """Return the backends of the flags; a run of a tracker is called `run`."""
    flags: list[dict[str, Any]] = []
    if args.tensorboard:
        flags.append(dict(type='TensorboardVisBackend'))
    if args.wandb is not None:
        entity, _, project = args.wandb.rpartition('/')
        names = dict(project=project, name=run, **(dict(entity=entity) if entity else {}))
        flags.append(dict(type=OWN['WandbVisBackend'], init_kwargs=names))
    if args.mlflow is not None:
        where = {} if args.mlflow is True else dict(tracking_uri=args.mlflow)
        flags.append(dict(type=OWN['MLflowVisBackend'], exp_name='lomar', run_name=run, **where))
    return flags


def _backends(cfg: Config) -> list[dict]:
    """Return the backends as dicts; in the config, each is a dict with a type, or a name."""
    found = cfg.visualizer.get('vis_backends') or []
    nodes = []
    for node in found if isinstance(found, list | tuple) else [found]:
        node = dict(type=node) if isinstance(node, str) else node
        if not isinstance(node, dict) or 'type' not in node:
            raise ValueError(f'{KEY} has {node!r}; allowed: names of backends, dicts with a type')
        nodes.append(node)
    return nodes


def _set(cfg: Config, nodes: list[dict]) -> None:
    """Check the backends and set them in the config."""
    names = [node.get('name', node['type']) for node in nodes]
    for node, name in zip(nodes, names, strict=True):
        if names.count(name) > 1:
            raise ValueError(f'{KEY} has {name} twice; allowed: once, or with another `name`')
        kind = VISBACKENDS.get(node['type']) if isinstance(node['type'], str) else node['type']
        for base in getattr(kind, '__mro__', ()):
            for module, install in PACKAGES.get(base.__name__, {}).items():
                if find_spec(module) is None:
                    raise ValueError(
                        f'{KEY}: {kind.__name__} needs {module}: pip install {install}'
                    )
    cfg.visualizer.vis_backends = nodes
