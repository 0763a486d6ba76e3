"""Hook that keeps a complete checkpoint on disk at all times."""

from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """`CheckpointHook` that always keeps a complete checkpoint on disk.

    mmengine removes the oldest checkpoint before it writes the next one. With `max_keep_ckpts=1`
    there would be no checkpoint for a short time.
    """

    def __init__(self, *args, max_keep_ckpts: int = -1, **kwargs):
        if max_keep_ckpts == 1:
            raise ValueError(
                'default_hooks.checkpoint.max_keep_ckpts is 1: a run killed while it saves would '
                'have nothing to resume from; allowed: 2 or more, or -1 to keep all'
            )
        try:
            super().__init__(*args, max_keep_ckpts=max_keep_ckpts, **kwargs)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f'default_hooks.checkpoint: {error}') from error
