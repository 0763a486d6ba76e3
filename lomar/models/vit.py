"""Plain vision transformers with relative or absolute positions: `RPEViT` and `LoMaRViT`."""

import math
from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.layers import PatchEmbed
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lomar.models.absolute_positions import LearnedPositions
from lomar.models.architectures import (
    OUT_TYPES,
    as_size,
    check_compiled,
    check_position,
    resolve_arch,
    resolve_out_indices,
    window_sizes,
)
from lomar.models.attention import Block
from lomar.models.rpe import check_rpe
from lomar.utils import check_choice, check_flags, check_least, check_number


@MODELS.register_module()
class RPEViT(LearnedPositions, BaseModule):
    """Vision transformer with timm's parameter names and iRPE (LoMaR) or absolute positions (MAE).

    Args:
        arch: a name in `ARCHS`, or a dict with embed_dim, depth, num_heads and optional mlp_ratio.
        img_size: typical image size in pixels; inputs may have any multiple of `patch_size`.
        out_type: 'avg_featmap' (B, D), LayerNorm `fc_norm` of the mean patch token;
            'cls_token' (B, D); 'featmap' (B, D, H/P, W/P); 'raw' (B, L, D), the cls token first.
        out_indices: blocks whose output is returned, for 'featmap' and 'raw'; the last one is
            depth - 1. () = only the last block's output.
        position: 'irpe' (LoMaR); 'absolute', a learned table for one grid, resized to other grids
            (MAE); 'absolute+decomposed', the table and zero-initialized decomposed relative
            positions in every block (MAE in ViTDet).
        pretrain_img_size: image side in pixels that gives the grid of the learned absolute
            positions, with this `patch_size`; None = `img_size`. detectron2's ViTDet uses the
            pretraining size. Weights with a table for the grid of `img_size` can be loaded, too.
        rpe: options of `lomar.models.rpe.build_rpe`; the defaults are LoMaR's.
        window_size: window side in patches for attention within windows; 0 = global attention.
        global_blocks: indices of blocks with global attention; needs window_size.
        frozen_stages: 0 = nothing; 1 = the embedding; n + 1 = also the first n blocks; depth + 2 =
            also the norm after the blocks.
        with_cp: activation checkpointing: recompute the blocks in the backward pass.
        compiled: True compiles each block with `torch.compile` (a minute at the first step and per
            new shape; on a CPU a C++ compiler is needed). A dict contains options.
        flex: on a GPU, use FlexAttention, which stores no logits, for more than 1024 patches
            without a cls token. A ValueError unless the positions are LoMaR's iRPE.
        drop_path_rate: stochastic depth rate of the last block; the rate grows linearly from 0.
        final_norm: LayerNorm `norm` after the last block; not with 'avg_featmap'.
    """

    def __init__(
        self,
        arch: str | dict = 'base',
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        out_type: str = 'raw',
        position: str = 'irpe',
        pretrain_img_size: int | tuple[int, int] | None = None,
        rpe: dict | None = None,
        with_cls_token: bool = True,
        window_size: int = 0,
        global_blocks: Sequence[int] = (),
        frozen_stages: int = 0,
        with_cp: bool = False,
        compiled: bool | dict = False,
        flex: bool = False,
        drop_path_rate: float = 0.0,
        final_norm: bool = True,
        out_indices: Sequence[int] = (),
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        check_choice('backbone.out_type', out_type, OUT_TYPES)
        check_least('backbone', patch_size=patch_size, in_channels=in_channels)
        if out_type == 'cls_token' and not with_cls_token:
            raise ValueError("backbone.out_type='cls_token' needs backbone.with_cls_token=True")
        check_flags(
            'backbone',
            with_cls_token=with_cls_token,
            final_norm=final_norm,
            with_cp=with_cp,
            flex=flex,
        )
        check_number('backbone.drop_path_rate', drop_path_rate, below=1)
        check_position(position, with_cls_token, pretrain_img_size, rpe)
        check_rpe(rpe)
        check_compiled(compiled)
        settings = resolve_arch(arch)
        self.embed_dim, self.depth = settings['embed_dim'], settings['depth']
        self.patch_size, self.in_channels = patch_size, in_channels
        self.out_type, self.with_cls_token = out_type, with_cls_token
        self.out_indices = resolve_out_indices(out_indices, self.depth, out_type)
        self.img_size = as_size('img_size', img_size)
        self.pretrain_img_size = as_size(
            'pretrain_img_size', img_size if pretrain_img_size is None else pretrain_img_size
        )
        grid = self.grid(self.img_size, 'backbone.img_size')
        learned = self.grid(self.pretrain_img_size, 'backbone.pretrain_img_size')

        self.patch_embed = PatchEmbed(None, patch_size, in_channels, self.embed_dim)
        if with_cls_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, self.embed_dim))
        if position != 'irpe':
            length = math.prod(learned) + with_cls_token
            self.pos_embed = nn.Parameter(torch.zeros(1, length, self.embed_dim))
        windows = window_sizes(self.depth, window_size, global_blocks, with_cls_token)
        drop_path = torch.linspace(0, drop_path_rate, self.depth, device='cpu').tolist()
        self.blocks = nn.ModuleList(
            Block(
                self.embed_dim,
                settings['num_heads'],
                settings.get('mlp_ratio', 4),
                rate,
                window,
                **self._positions(position, rpe, (window, window) if window else grid),
                flex=flex,
            )
            for rate, window in zip(drop_path, windows, strict=True)
        )
        pooled = out_type == 'avg_featmap'
        norm = final_norm and not pooled
        self.norm = nn.LayerNorm(self.embed_dim, eps=1e-6) if norm else nn.Identity()
        if pooled:
            self.fc_norm = nn.LayerNorm(self.embed_dim, eps=1e-6)
        self._reset_parameters()
        self.with_cp = with_cp
        self._freeze(frozen_stages)
        if compiled is not False:
            self._compile({} if compiled is True else compiled)

    def _compile(self, options: dict) -> None:
        # Drop path has another rate in each block, and blocks share the code that is compiled: each
        # block needs its own graphs, for training, evaluation and two grids.
        config = torch._dynamo.config
        config.recompile_limit = max(config.recompile_limit, 4 * self.depth)
        # With dynamic shapes, grids and iRPE tables would not be constants of a graph.
        for block in self.blocks:
            block.compile(**dict(dynamic=False) | options)

    @staticmethod
    def _positions(position: str, rpe: dict | None, grid: tuple[int, int]) -> dict:
        """Return the arguments of `Block` for the relative positions in `grid`."""
        if position == 'irpe':
            return dict(rpe=rpe or {})
        return dict(decomposed=grid if position == 'absolute+decomposed' else None)

    def _freeze(self, stages: int) -> None:
        """Freeze the embedding (1) and the first blocks (2 ...)."""
        check_least('backbone', 0, frozen_stages=stages)
        if stages > self.depth + 2:
            raise ValueError(
                f'backbone.frozen_stages is {stages}; allowed: 0 to {self.depth + 2} (everything)'
            )
        for name, parameter in self.named_parameters():
            if self.get_layer_depth(name)[0] < stages:
                parameter.requires_grad = False

    def _reset_parameters(self) -> None:
        """Initialize as in detectron2's ViT and the fine-tuning code of MAE and LoMaR."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        for name in ('cls_token', 'pos_embed'):
            if hasattr(self, name):
                nn.init.trunc_normal_(getattr(self, name), std=0.02)

    def grid(self, size: tuple[int, int], what: str = "an image's size") -> tuple[int, int]:
        """Return the numbers of patch rows and columns of an image of `size` = (height, width)."""
        height, width = size
        if height < 1 or width < 1 or height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f'{what} is {height} x {width}; allowed: multiples of backbone.patch_size='
                f'{self.patch_size} (crop or resize in the pipeline, or choose another patch size)'
            )
        return height // self.patch_size, width // self.patch_size

    def check_images(self, images: Tensor) -> tuple[int, int]:
        """Return the patch grid of images (B, C, H, W); raise a ValueError for a wrong shape."""
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(
                f'images have the shape {tuple(images.shape)}; allowed: (B, C, H, W) with '
                f'C = backbone.in_channels = {self.in_channels}'
            )
        return self.grid((images.shape[2], images.shape[3]))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Encode whole images (B, C, H, W); return the output of `out_type` per `out_indices`."""
        grid = self.check_images(images)
        x = self.patch_embed(images)
        if self.with_cls_token:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        if hasattr(self, 'pos_embed'):
            x = x + self.resized_positions(grid)
        return tuple(self._select(level, grid) for level in self._levels(x, grid))

    def encode(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Run the blocks and the final norm on token sequences (N, L, D) of a `grid` of patches.

        The residual stream has the dtype of the weights, which is float32 under mixed precision.
        bf16 has 8 significant bits, in which most terms of a long sum of small terms would be lost.
        """
        return self._levels(x, grid)[-1]

    def _levels(self, x: Tensor, grid: tuple[int, int]) -> list[Tensor]:
        """Return the tokens after each block of `out_indices`; only the last ones have the norm."""
        x, levels = x.to(self.patch_embed.proj.weight.dtype), []
        for index, block in enumerate(self.blocks):
            if self.with_cp and self.training:
                x = checkpoint(block, x, grid, use_reentrant=False)
            else:
                x = block(x, grid)
            if index in self.out_indices[:-1]:
                levels.append(x)
        return [*levels, self.norm(x)]

    def _select(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        patches = x[:, int(self.with_cls_token) :]
        if self.out_type == 'raw':
            return x
        if self.out_type == 'cls_token':
            return x[:, 0]
        if self.out_type == 'avg_featmap':
            return self.fc_norm(patches.mean(dim=1))
        return patches.transpose(1, 2).unflatten(2, grid).contiguous()

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the layer of a parameter and the number of layers, for layer-wise learning rates.

        Layer 0 is the embedding, layer i + 1 is block i, layer depth + 1 is the norm, and every
        parameter whose name does not begin with `prefix`, such as that of a head.

        Raises:
            ValueError: the layer of the parameter is unknown, so its learning rate would be wrong.
        """
        layers = self.depth + 2
        if not param_name.startswith(prefix):
            return layers - 1, layers
        name = param_name.removeprefix(prefix)
        if name.startswith(('patch_embed.', 'cls_token', 'mask_token', 'pos_embed')):
            return 0, layers
        if name.startswith('blocks.'):
            return int(name.split('.')[1]) + 1, layers
        if name.startswith(('norm.', 'fc_norm.')):
            return layers - 1, layers
        raise ValueError(f"no layer is known for the backbone's parameter '{param_name}'")


@MODELS.register_module()
class LoMaRViT(RPEViT):
    """`RPEViT` that also encodes windows with mask tokens in place of masked patches."""

    def __init__(self, *args, position: str = 'irpe', **kwargs):
        if position != 'irpe':
            raise ValueError(f'backbone.position is {position!r}; LoMaRViT allows: irpe')
        super().__init__(*args, **kwargs)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.embed_dim))
        nn.init.normal_(self.mask_token, std=0.02)

    def _reset_parameters(self) -> None:
        """Initialize as in MAE's pretraining: Xavier, with the patch embedding as a matrix."""
        super()._reset_parameters()
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.view(self.embed_dim, -1))

    def encode_windows(self, patches: Tensor, masked: Tensor) -> Tensor:
        """Encode each window separately.

        Args:
            patches: (B, W, K*K, P*P*C), see `lomar.models.patches.cut_patches`.
            masked: (B, W, K*K) bool, True = replaced by the mask token.

        Returns:
            Patch tokens after the final norm, (B, W, K*K, D).
        """
        batch, number, length = masked.shape
        # Compute the patch embedding's convolution as one matrix product over the cut patches.
        weight = self.patch_embed.proj.weight.permute(0, 2, 3, 1).flatten(1)
        x = F.linear(patches, weight, self.patch_embed.proj.bias)
        x = torch.where(masked[..., None], self.mask_token, x).flatten(0, 1)
        if self.with_cls_token:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        side = round(length**0.5)
        x = self.encode(x, (side, side))
        return x[:, int(self.with_cls_token) :].unflatten(0, (batch, number))
