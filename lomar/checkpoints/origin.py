"""The weights that a training started from, back to the first training, and their licence."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from lomar.checkpoints.config_reader import read_configs
from lomar.utils import dicts_in

KEY = 'started_from'  # in `meta` of a checkpoint
LICENSE = 'license'  # in `meta` of a published folder
RANDOM = 'random weights'
NON_COMMERCIAL = 'cc-by-nc-4.0'
# Names and addresses of the weights that the authors of LoMaR and MAE released (CC-BY-NC 4.0), and
# of timm's copies of MAE's. The name of LoMaR's file is not known here, its address is.
RELEASED = re.compile(
    r'160kBTk95xOOCDVKPmxVADWtfqSMzRexW'
    r'|dl\.fbaipublicfiles\.com/mae/'
    r'|(^|[/\\])mae_(pretrain|finetuned|visualize)_vit_(base|large|huge)\w*\.pth$'
    r'|^hf:/{1,2}timm/vit_\w+\.mae(@|$)'
)


class Start(NamedTuple):
    """Weights that a training started from.

    Attributes:
        file: file, address or published folder, as the config names it; or `RANDOM`.
        license: identifier of the licence that a published folder states, or None.
        layout: program that wrote the file, if the names of the weights tell it, or ''.
    """

    file: str
    license: str | None = None
    layout: str = ''


class Licence(NamedTuple):
    """Licence of the weights at the start of a training, an identifier or None, and the reason."""

    license: str | None
    reason: str


def starts(content: Mapping) -> list[Start]:
    """Return the weights that the training of a checkpoint started from, the latest first.

    The second weights are those that the training of the first ones started from, and so on. The
    list ends with `RANDOM`, or with weights of which nothing is known; it is empty if the
    checkpoint does not tell.
    """
    meta = content.get('meta')
    recorded = meta.get(KEY) if isinstance(meta, Mapping) else None
    if isinstance(recorded, list | tuple):
        return [_start(each) for each in recorded if isinstance(each, Mapping)]
    config = next(iter(read_configs(content).values()), None)
    if config is None or config.get('resume'):  # `load_from` is an earlier part of this training
        return []
    return starts_of_config(config)


def _start(recorded: Mapping) -> Start:
    given = recorded.get('license')
    file, layout = (str(recorded.get(key) or '') for key in ('file', 'layout'))
    return Start(file, given if isinstance(given, str) else None, layout)


def starts_of_config(config: Mapping) -> list[Start]:
    """Return the weights that a config names, or random ones."""
    if config.get('load_from'):
        return [Start(str(config['load_from']))]
    named = []
    for node in dicts_in(config.get('model')):
        init = node.get('init_cfg')
        named += [each.get('checkpoint') for each in dicts_in(init) if each.get('checkpoint')]
        if pretrained := node.get('pretrained'):
            what = f'weights that {node.get("type")} downloads'
            named.append(pretrained if isinstance(pretrained, str) else what)
    return [Start(str(name)) for name in dict.fromkeys(named)] or [Start(RANDOM)]


def record(file: str, content: Mapping) -> list[dict[str, Any]]:
    """Return the record for `meta` of a training that starts from the content of a checkpoint."""
    weights = content.get('model')
    names = weights if isinstance(weights, Mapping) else content
    official = any(str(name).startswith('encoder_pred.') for name in names)
    layout = 'the original LoMaR code' if official else ''
    first = Start(str(file), stated(content), layout)
    return [each._asdict() for each in (first, *starts(content))]


def stated(content: Mapping) -> str | None:
    """Return the identifier of the licence that the content of a published folder states."""
    meta = content.get('meta')
    given = meta.get(LICENSE) if isinstance(meta, Mapping) else None
    return given if isinstance(given, str) and given else None


def licence(found: list[Start]) -> Licence:
    """Return the licence of the weights that a training started from."""
    for start in found:
        if RELEASED.search(start.file):
            reason = f'{start.file} has the name of weights that their authors released under'
            return Licence(NON_COMMERCIAL, f'{reason} {NON_COMMERCIAL}')
        if start.license:
            return Licence(start.license, f'{start.file} was published under {start.license}')
    if not found:
        return Licence(None, 'the checkpoint does not tell which weights its training started from')
    if found[-1].file == RANDOM:
        return Licence(None, 'the training started from random weights')
    last = found[-1]
    hint = f', which has the layout of {last.layout}' if last.layout else ''
    return Licence(None, f'the licence of {last.file}{hint} is not known')
