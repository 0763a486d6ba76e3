"""Checkpoints of the original LoMaR code: its names are timm's, so little has to be renamed."""

from torch import Tensor

# The original code builds a position table and saves it, but never adds it.
UNUSED = ('pos_embed',)
PRETRAIN_ONLY = ('mask_token', 'encoder_pred.')


def from_official(state_dict: dict[str, Tensor], target: str) -> dict[str, Tensor]:
    """Rename the weights of an original LoMaR model.

    Args:
        state_dict: weights of the pretraining or of the fine-tuning model (a file's 'model').
        target: 'pretrain' for `LoMaR`, 'backbone' for `RPEViT`, 'classifier' for mmpretrain's
            `ImageClassifier` with an `RPEViT`.

    Raises:
        ValueError: unknown target, or weights of a model that does not serve it.
    """
    if target not in ('pretrain', 'backbone', 'classifier'):
        raise ValueError(f"target is '{target}'; allowed: pretrain, backbone, classifier")
    needed = {'pretrain': 'encoder_pred.weight', 'classifier': 'head.weight'}.get(target)
    if needed and needed not in state_dict:
        raise ValueError(f"target='{target}' needs '{needed}', which is not in the state dict")
    weights = {k: v for k, v in state_dict.items() if not k.startswith(UNUSED)}
    if target == 'backbone':
        return {k: v for k, v in weights.items() if not k.startswith((*PRETRAIN_ONLY, 'head.'))}
    old, new = ('encoder_pred.', 'head.pred.') if target == 'pretrain' else ('head.', 'head.fc.')
    return {
        new + k.removeprefix(old) if k.startswith(old) else f'backbone.{k}': v
        for k, v in weights.items()
    }
