"""LoMaR's vision transformers for timm; importing this module registers `lomar_vit_*`.

`lomar_vit` is the model of the folders that `lomar publish` writes. The other names have a standard
architecture and no weights.
"""

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models import vision_transformer as vit
from torch import Tensor, nn

from lomar.checkpoints.names import rename, target_names
from lomar.models.architectures import ARCHS
from lomar.models.timm_vit import VisionTransformer
from lomar.utils import check_choice

POSITIONS = dict(irpe=VisionTransformer, absolute=vit.VisionTransformer)


def timm_weights(weights: dict[str, Tensor], model: nn.Module | None = None) -> dict[str, Tensor]:
    """Return the weights of an encoder or classifier by timm's names, without other weights.

    Args:
        weights: a state dict of `LoMaR`, of mmpretrain's `MAE`, of an `ImageClassifier`, or of a
            detector, of which the backbone is returned.
        model: the model that loads them, which timm passes.
    """
    becomes, backbone = target_names(weights, 'timm').items(), rename(weights)
    return {k: weights[own] for own, k in becomes if k in backbone or k.startswith('head.')}


def _build(kind: type[nn.Module], name: str, pretrained: bool, options: dict) -> Any:
    feature_cfg = dict(out_indices=options.pop('out_indices', 3), feature_cls='getter')
    return build_model_with_cfg(
        kind,
        name,
        pretrained,
        pretrained_filter_fn=timm_weights,
        feature_cfg=feature_cfg,
        **options,
    )


@register_model
def lomar_vit(pretrained: bool = False, position: str = 'irpe', **options) -> vit.VisionTransformer:
    """Model of a folder of `lomar publish`, whose config.json has the arguments.

    Args:
        position: 'irpe' (LoMaR), or 'absolute' (MAE).
        options: of timm's `VisionTransformer`.
    """
    check_choice('position', position, POSITIONS)
    return _build(POSITIONS[position], 'lomar_vit', pretrained, options)


def _entry(name: str, arch: str):
    def create(pretrained: bool = False, **options) -> VisionTransformer:
        options = {'patch_size': 16, 'global_pool': 'avg', **ARCHS[arch], **options}
        return _build(VisionTransformer, name, pretrained, options)

    create.__name__ = name
    create.__doc__ = f'LoMaR ViT-{arch.capitalize()}/16: iRPE, average pool and a norm.'
    return create


def _cfg(size: int) -> dict:
    return dict(
        url='',  # no weights are published in a form that can be downloaded
        num_classes=1000,
        input_size=(3, size, size),
        pool_size=None,
        crop_pct=0.875 if size == 224 else 1.0,
        interpolation='bicubic',
        fixed_input_size=True,
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
        first_conv='patch_embed.proj',
        classifier='head',
    )


_variants = {
    f'lomar_vit_{arch}_patch16_{size}': (arch, size)
    for arch in ('small', 'base', 'large')
    for size in (224, 384, 448)
}
default_cfgs = generate_default_cfgs({name: _cfg(size) for name, (_, size) in _variants.items()})
for _name, (_arch, _) in _variants.items():
    globals()[_name] = register_model(_entry(_name, _arch))
