"""Check of the kinds of entries in a config, before anything reads them: dicts, lists and names."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from mmengine.config import Config

from lomar.checkpoints.config_reader import read_text

DICT, LIST, NONE = ('a dict', dict), ('a list', (list, tuple)), ('None', type(None))
NAME, WHOLE, BOOL = ('a name', str), ('a whole number', int), ('True or False', bool)
# Entries that MMEngine's runner or this package read as such, by the pattern of their key; the
# first pattern counts.
KINDS = {
    '*_dataloader': (DICT, NONE),
    '*_dataloader.dataset': (DICT,),
    '*_dataloader.dataset.metainfo': (DICT, NONE),
    '*_dataloader.sampler': (DICT,),
    'env_cfg': (DICT,),
    '*_cfg': (DICT, NONE),
    'env_cfg.*_cfg': (DICT,),
    '*_evaluator': (DICT, LIST, NONE),
    '*_evaluator.metric': (NAME, LIST),
    '*_evaluator.[0-9]*.metric': (NAME, LIST),
    '*_evaluator.[0-9]*': (DICT,),
    'model': (DICT,),
    'model.data_preprocessor': (DICT, NONE),
    'optim_wrapper': (DICT, NONE),
    'optim_wrapper.optimizer': (DICT,),
    'optim_wrapper.clip_grad': (DICT, NONE),
    'optim_wrapper.paramwise_cfg': (DICT, NONE),
    'param_scheduler': (DICT, LIST, NONE),
    'param_scheduler.[0-9]*': (DICT,),
    'default_hooks': (DICT, NONE),
    'default_hooks.*': (DICT, NONE),
    'default_hooks.*.interval': (WHOLE,),
    'default_hooks.checkpoint.max_keep_ckpts': (WHOLE,),
    'default_hooks.checkpoint.save_begin': (WHOLE,),
    'default_hooks.*.save_best': (NAME, LIST, NONE),
    'custom_hooks': (LIST, NONE),
    'custom_hooks.[0-9]*': (DICT,),
    'visualizer': (DICT, NONE),
    'auto_scale_lr': (DICT, NONE),
    'value_range': (LIST, NONE),
    'work_dir': (NAME, NONE),
    'resume': (('True or False; --resume FILE names a checkpoint', bool),),
    'compile': (BOOL, DICT, NONE),
    'efficient_conv_bn_eval': (NAME, LIST, NONE),
    'efficient_conv_bn_eval.[0-9]*': (NAME,),
    'data_preprocessor': (DICT, NONE),
    'log_processor': (DICT, NONE),
    'randomness': (DICT,),
    'log_level': (NAME,),
    'default_scope': (NAME, NONE),
    'custom_imports': (DICT, NONE),
    'custom_imports.imports': (LIST, NAME),
    'custom_imports.imports.[0-9]*': (NAME,),
}
# Entries whose dicts have a `type` that is built.
BUILT = (
    *('model', '*_dataloader', '*_cfg', '*_evaluator', 'optim_wrapper', 'param_scheduler'),
    *('default_hooks', 'custom_hooks', 'visualizer', 'data_preprocessor', 'log_processor'),
)


def check_kinds(cfg: Config | dict) -> None:
    """Raise a ValueError that names the key if an entry of a config is of another kind."""
    for key, value in _entries(dict(cfg.items())):
        allowed = next((kinds for pattern, kinds in KINDS.items() if _matches(key, pattern)), ())
        if allowed and not any(_is(value, kind) for _, kind in allowed):
            words = ' or '.join(word for word, _ in allowed)
            raise ValueError(f'{key} is {value!r}; allowed: {words}')
        owner, _, last = key.rpartition('.')
        built = any(fnmatchcase(owner.partition('.')[0], pattern) for pattern in BUILT)
        if last == 'type' and built and not (callable(value) or (value and isinstance(value, str))):
            raise ValueError(f'{key} is {value!r}; allowed: the name of a class')
        if last == 'pipeline' and not (value and isinstance(value, list | tuple)):
            raise ValueError(f'{key} is {value!r}; allowed: a list of transforms, one or more')


def check_writable(cfg: Config) -> None:
    """Raise a ValueError that names the key if an entry of a config cannot be saved as text."""
    for key, value in _entries(cfg.to_dict()):
        if isinstance(value, dict | list | tuple | str):
            continue
        try:
            read_text(f'value = {value}', key)  # as commands and `--resume` read the saved config
        except ValueError as error:
            what = f'the class {value.__name__}' if isinstance(value, type) else ''
            what = what or f'of the type {type(value).__name__}'
            end = '' if '.' in key else f'; import whole modules, or end the file with `del {key}`'
            raise ValueError(
                f'{key} is {what}, which cannot be saved; allowed: numbers, texts, lists and '
                f'dicts{end}'
            ) from error


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _matches(key: str, pattern: str) -> bool:
    parts, patterns = key.split('.'), pattern.split('.')
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _entries(node: Any, place: str = '') -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of all entries of dicts and lists."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in pairs:
        yield f'{place}{key}', value
        if isinstance(value, dict | list | tuple):
            yield from _entries(value, f'{place}{key}.')
