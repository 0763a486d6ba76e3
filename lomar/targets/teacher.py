"""Target with features of a frozen network (distillation)."""

from collections.abc import Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from lomar.checkpoints import load_file, rename, transfer_backbone, unwrap
from lomar.checkpoints.files import naming
from lomar.checkpoints.names import check_format, timm_names, unused
from lomar.models.targets import TARGETS, InputFormat, Normalisation, Target
from lomar.models.vit import RPEViT
from lomar.targets.frozen import Frozen
from lomar.utils import check_choice, check_least, check_per_channel

LOSSES = ('smooth_l1', 'cosine')
# Modules outside of the backbone in weight files of timm and mmpretrain.
HEADS = ('head', 'head_dist', 'fc', 'fc_norm', 'classifier', 'attn_pool', 'neck', 'mask_token')


@TARGETS.register_module()
class TeacherTarget(Target):
    """Target with the feature of a frozen teacher for each patch of the whole image.

    Images are resized so that the teacher's feature map has the student's grid.

    Args:
        teacher: config of a backbone that returns feature maps (B, D, h, w), such as `RPEViT` or
            `mmpretrain.VisionTransformer` with `out_type='featmap'`; or an
            `mmpretrain.TIMMBackbone`, whose last map of `forward_intermediates` is used.
        weights: file with the teacher's weights, or 'random'.
        stride: stride of the teacher's feature map in pixels.
        mean, std: normalization of the teacher's input, one number per channel, for pixels from 0
            to 255; None = as the student's.
        normalise: normalize the feature of each patch to mean 0 and standard deviation 1.
        loss: 'smooth_l1' or 'cosine' (1 - cosine similarity).
    """

    def __init__(
        self,
        inputs: InputFormat,
        teacher: dict,
        weights: str | None = None,
        stride: int = 16,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        normalise: bool = True,
        loss: str = 'smooth_l1',
    ):
        super().__init__(inputs)
        check_choice('head.target.loss', loss, LOSSES)
        check_least('head.target', stride=stride)
        mean, std = inputs.mean if mean is None else mean, inputs.std if std is None else std
        check_per_channel('head.target', inputs.in_channels, mean=mean, std=std)
        self.teacher_normalisation = Normalisation(mean, std)
        self.stride, self.normalise, self.loss = stride, normalise, loss
        network = MODELS.build(teacher)
        _load(network, weights)
        self.name = teacher['type']
        self.teacher = Frozen(_MapOf(network))
        # A forward pass at the model's image size detects wrong settings before the first step.
        self.dim = self.features(torch.zeros(1, inputs.in_channels, *inputs.img_size)).shape[1]

    def forward(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the teacher's features (B, N, D) of N patches per image."""
        image = torch.arange(len(images), device=images.device)[:, None]
        features = self.features(images)[image, :, rows, columns].float()
        # Layer norm without parameters, as data2vec (arXiv 2202.03555) and MaskDistill
        # (arXiv 2210.10615) normalize teacher features.
        return F.layer_norm(features, (self.dim,)) if self.normalise else features

    def features(self, images: Tensor) -> Tensor:
        """Return the teacher's map (B, D, h, w) of images (B, C, H, W) on the student's grid."""
        grid = tuple(side // self.inputs.patch_size for side in images.shape[-2:])
        size = tuple(side * self.stride for side in grid)
        images = self.teacher_normalisation(self.normalisation.undo(images))
        if images.shape[-2:] != size:
            images = F.interpolate(images, size, mode='bicubic', antialias=True)
        try:
            features = self.teacher(images)
        except torch.OutOfMemoryError:
            raise
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ValueError(
                f'head.target.teacher ({self.name}) does not take {images.shape[1]} channels of '
                f'{_by(size)} pixels, which are the grid of {_by(grid)} patches x '
                f'head.target.stride={self.stride}: {str(error).rstrip(".")}. Where its input size '
                'is fixed, allowed are settings that make this size, or a teacher that takes any '
                '(a ViT of timm: dynamic_img_size=True; others: img_size, strict_img_size=False)'
            ) from error
        self._check(features, grid, size)
        return features

    def _check(self, features: Tensor, grid: tuple[int, ...], size: tuple[int, ...]) -> None:
        if features.ndim != 4:
            raise ValueError(
                f'head.target.teacher ({self.name}) answers with {tuple(features.shape)}; allowed: '
                "maps (B, D, h, w), as with out_type='featmap', or a TIMMBackbone"
            )
        found = tuple(features.shape[-2:])
        if found != grid:
            raise ValueError(
                f'head.target.stride is {self.stride}: of {_by(size)} pixels head.target.teacher '
                f'({self.name}) makes a map of {_by(found)}, and there are {_by(grid)} patches; '
                f'allowed: {round(size[0] / found[0])}, its own stride'
            )

    def patch_loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the selected loss per patch: (..., D), (..., D) -> (...)."""
        prediction, target = prediction.float(), target.float()
        if self.loss == 'cosine':
            return 1 - F.cosine_similarity(prediction, target, dim=-1)
        return F.smooth_l1_loss(prediction, target, reduction='none').mean(dim=-1)


class _MapOf(nn.Module):
    """Module that returns the last feature map of a backbone of mmpretrain, timm or lomar."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        model = getattr(self.network, 'timm_model', None)
        if model is None:
            return self.network(images)[-1]
        # The forward pass of a timm model may return tokens, or a map with channels last.
        return model.forward_intermediates(
            images, indices=1, norm=True, intermediates_only=True, output_fmt='NCHW'
        )[0]


def _load(network: nn.Module, path: str | None) -> None:
    """Load the weights of a file into a teacher."""
    if path == 'random' or next(network.parameters()).is_meta:
        return  # tensors on the meta device have no values
    if path is None:
        raise ValueError(
            "head.target.weights is missing; allowed: the file of the teacher's weights, or "
            "'random' for a teacher that knows nothing"
        )
    try:
        content = load_file(path)
    except FileNotFoundError as error:
        what = f"head.target.weights: {path} does not exist; allowed: a file, 'random'"
        raise ValueError(what) from error
    with naming(f'head.target.weights: {path}'):
        weights = unwrap(content)
        if isinstance(network, RPEViT):
            transfer_backbone(weights, network)
        else:
            _load_by_name(weights, getattr(network, 'timm_model', network))


def _load_by_name(weights: dict[str, Tensor], network: nn.Module) -> None:
    """Load weights under the network's own names or those of another project."""
    places = {new: own for own, new in timm_names(network.state_dict()).items()}
    weights = rename(weights)
    check_format(weights, places)
    known = {name for name in weights if name.split('.')[0] in HEADS} | unused(weights).keys()
    weights = {places.get(k, k): v for k, v in weights.items() if k in places or k not in known}
    try:
        found = network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    if found.missing_keys or found.unexpected_keys:
        raise ValueError(
            f'{len(found.missing_keys)} weights of the teacher are not in it '
            f'({_some(found.missing_keys)}), {len(found.unexpected_keys)} of it have no place in '
            f'the teacher ({_some(found.unexpected_keys)}); allowed: weights of the model that '
            'head.target.teacher describes'
        )


def _by(sides: Sequence[int]) -> str:
    return f'{sides[0]} x {sides[1]}'


def _some(names: Sequence[str]) -> str:
    return ', '.join(names[:4]) + (', ...' if len(names) > 4 else '') if names else 'none'
