"""Parameter names: from the names of known projects to timm's, and from timm's to a target's.

The original LoMaR and MAE code uses timm's names. LoMaR's pretraining model adds `mask_token`
and `head.pred.*`.
"""

import re
from collections.abc import Collection, Iterable

from torch import Tensor

from lomar.utils import check_choice

PATCHES = 'patch_embed.proj.weight'  # (D, C, P, P), in every vision transformer
# Prefixes from DataParallel and Lightning. The prefix of torch.compile may be anywhere.
WRAPPERS = ('module.', 'model.')
PREFIXES = ('backbone', 'encoder', 'model', 'module', 'timm_model')
# Rules from the names of all projects, without prefix, to timm's; applied in order.
_TO_TIMM = (
    (r'^patch_embed\.projection\.', 'patch_embed.proj.'),  # mmpretrain
    (r'^layers\.(\d+)\.ln(\d)\.', r'blocks.\1.norm\2.'),
    (r'^layers\.(\d+)\.ffn\.layers\.0\.0\.', r'blocks.\1.mlp.fc1.'),
    (r'^layers\.(\d+)\.ffn\.layers\.1\.', r'blocks.\1.mlp.fc2.'),
    (r'^layers\.(\d+)\.', r'blocks.\1.'),
    (r'^ln1\.', 'norm.'),
    (r'^ln2\.', 'fc_norm.'),
    (r'^head\.(fc|layers\.head)\.', 'head.'),  # mmpretrain's classifiers
    (r'^neck\.(decoder_|mask_token)', r'\1'),  # mmpretrain's MAE
    (r'^neck\.ln1\.', 'decoder_norm.'),
    (r'^(decoder_blocks\.\d+)\.ln(\d)\.', r'\1.norm\2.'),
    (r'^(decoder_blocks\.\d+)\.ffn\.layers\.0\.0\.', r'\1.mlp.fc1.'),
    (r'^(decoder_blocks\.\d+)\.ffn\.layers\.1\.', r'\1.mlp.fc2.'),
    (r'^encoder_pred\.', 'head.pred.'),  # the original LoMaR
)
_FROM_TIMM = {
    'lomar': ((r'^(?!head\.)', 'backbone.'),),
    'backbone': (),
    'classifier': ((r'^(?!head\.)', 'backbone.'), (r'^head\.', 'head.fc.')),
    'timm': (),
    'detectron2': ((r'^', 'backbone.net.'),),
}
TARGETS = tuple(_FROM_TIMM)
_TRANSFORMERS = re.compile(r'(^|\.)embeddings\.patch_embeddings?\.')
# Patterns of names, without prefix, that a project's files have and never have.
_SIGNS = {
    'official': (r'^blocks\.\d+\.attn\.rpe_', r'^head\.(fc|pred)\.'),
    'mae': (r'^blocks\.\d+\.attn\.qkv', r'\.rpe_|^head\.(fc|pred)\.'),
    'mmpretrain': (r'^layers\.\d+\.ln1', r'^blocks\.'),
    'timm': (
        r'^blocks\.\d+\.attn\.qkv',
        r'^(mask_token|decoder_|encoder_pred\.|head\.(fc|pred)\.)',
    ),
    'lomar': (r'^blocks\.\d+\.attn\.qkv', r'^(decoder_|encoder_pred\.)'),
}
SOURCES = tuple(_SIGNS)
_PRETRAINING = (r'^(mask_token$|head\.pred\.)', 'only for pretraining')
_CLASSES = (r'^head\.(weight|bias)$', 'classification head')
_UNWRITTEN = {
    'backbone': (_PRETRAINING, _CLASSES),
    'classifier': (_PRETRAINING,),
    'timm': (_PRETRAINING,),
    'detectron2': (_CLASSES, (r'^(cls_token|norm\.\w+|fc_norm\.\w+)$', 'not in a ViTDet')),
}


def rename(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the backbone with timm's names.

    Supported are models of this package, of the original LoMaR and MAE code, timm and mmpretrain.

    Raises:
        ValueError: the weights of a transformer have an unknown prefix or several prefixes, or
            two weights have the same name.
    """
    stripped, renamed = strip_wrappers(weights), {}
    prefix = _prefix(stripped.values())
    for own, new in timm_names(weights).items():
        if stripped[own].startswith(prefix):
            if new in renamed:
                raise ValueError(f"{own} is a second weight with timm's name {new}; allowed: one")
            renamed[new] = weights[own]
    return renamed


def timm_names(names: Iterable[str]) -> dict[str, str]:
    """Return timm's name of each weight of a model, inside and outside of the backbone."""
    return {own: _replaced(name, _TO_TIMM) for own, name in without_prefix(names).items()}


def without_prefix(names: Iterable[str]) -> dict[str, str]:
    """Return each name of a model's weights without the prefixes of wrappers and backbone."""
    stripped, pattern = strip_wrappers(names), ''
    for part in reversed(_prefix(stripped.values()).split('.')[:-1]):
        pattern = rf'({part}\.{pattern})?'  # a head may be under the first parts of the prefix
    return {own: re.sub(rf'^{pattern}', '', name) for own, name in stripped.items()}


def strip_wrappers(names: Iterable[str]) -> dict[str, str]:
    """Return each name without `_orig_mod.` and without wrapper prefixes that all names have."""
    stripped = {name: name.replace('_orig_mod.', '') for name in names}
    for prefix in WRAPPERS * len(WRAPPERS):  # in any order
        if all(name.startswith(prefix) for name in stripped.values()):
            stripped = {own: name.removeprefix(prefix) for own, name in stripped.items()}
    return stripped


def target_names(names: Iterable[str], target: str) -> dict[str, str]:
    """Return the target's name of each weight; for omitted weights, the reason in brackets."""
    by_timm = timm_names(names)
    reasons = unused(by_timm.values())
    renamed = {}
    for own, name in by_timm.items():
        reason = reasons.get(name) or _reason(name, _UNWRITTEN.get(target, ()))
        renamed[own] = f'({reason})' if reason else _replaced(name, _FROM_TIMM[target])
    return renamed


def unused(names: Collection[str]) -> dict[str, str]:
    """Return, by timm's name, why a weight belongs to neither encoder nor head."""
    # `neck.bn` is a part of a classifier, mmpretrain's ClsBatchNormNeck of a linear probe.
    rules = [(r'^(decoder_|neck\.(?!bn\.))', 'decoder of the pretraining')]
    if any(name.startswith('decoder_') for name in names):
        rules.append((r'^mask_token$', 'decoder of the pretraining'))
    if any('lookup_table' in name for name in names):
        rules.append((r'^pos_embed$', 'the original code never adds it'))
    return {name: reason for name in names if (reason := _reason(name, rules))}


def check_source(names: Collection[str], source: str) -> None:
    """Raise a ValueError if the names, without prefix, cannot be from the source."""
    check_format(names)
    possible = [
        other
        for other, (needed, never) in _SIGNS.items()
        if any(re.search(needed, name) for name in names)
        and not any(re.search(never, name) for name in names)
    ]
    if source not in possible:
        found = ', '.join(list(names)[:3])
        hint = f'try --from {" or ".join(possible)}' if possible else 'no known source has them'
        raise ValueError(f"the names are not those of '{source}' (found: {found}, ...); {hint}")


def check_format(names: Iterable[str], model: Iterable[str] = ()) -> None:
    """Raise a ValueError if the names are those of Hugging Face transformers.

    Args:
        model: names of the model that the weights are for, which may be a model of transformers.
    """
    found = next(filter(_TRANSFORMERS.search, names), None)
    if found and not any(map(_TRANSFORMERS.search, model)):
        raise ValueError(
            f'the weights are in the format of Hugging Face transformers ({found}), which is not '
            "read; allowed: the same weights in the original project's file or from timm, for "
            'ViT-MAE a file of facebookresearch/mae or hf://timm/vit_base_patch16_224.mae'
        )


def from_official(state_dict: dict[str, Tensor], target: str) -> dict[str, Tensor]:
    """Rename the weights of an original LoMaR model; those of this package keep their names.

    Args:
        state_dict: weights of the pretraining or of the fine-tuning model (a file's 'model').
        target: 'pretrain' for `LoMaR`, 'backbone' for `RPEViT`, 'classifier' for mmpretrain's
            `ImageClassifier` with an `RPEViT`.

    Raises:
        ValueError: the target is unknown, or the model does not have the target's weights.
    """
    needed = dict(pretrain='encoder_pred.weight', backbone='', classifier='head.weight')
    check_choice('target', target, needed)
    name = needed[target]
    if name and _replaced(name, _TO_TIMM) not in timm_names(state_dict).values():
        raise ValueError(f"target='{target}' needs '{name}', which is not in the state dict")
    renamed = target_names(state_dict, 'lomar' if target == 'pretrain' else target)
    return {new: state_dict[own] for own, new in renamed.items() if not new.startswith('(')}


def _prefix(names: Collection[str]) -> str:
    """Return the prefix of the names of the backbone's weights."""
    found = {m[1] for m in map(re.compile(r'((?:[^.]+\.)*?)patch_embed\.').match, names) if m}
    if not found:  # another network than a vision transformer
        starts = map(re.compile(r'(backbone\.)?(timm_model\.)?').match, names)
        return max((m[0] for m in starts if m), key=len, default='')
    if '' in found:
        return ''
    (prefix, *others) = sorted(found)
    if others or not set(prefix.split('.')[:-1]) <= set(PREFIXES):
        raise ValueError(
            f'weights of a transformer are under {", ".join(sorted(found))}; allowed: no prefix or '
            f'one of {", ".join(PREFIXES)}; save the weights of one model without a prefix'
        )
    return prefix


def _replaced(name: str, rules: tuple) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _reason(name: str, rules: Iterable[tuple[str, str]]) -> str | None:
    return next((reason for pattern, reason in rules if re.search(pattern, name)), None)
