"""Training on several GPUs."""

from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook


@MODEL_WRAPPERS.register_module()
class BFloat16DataParallel(MMDistributedDataParallel):
    """mmengine's wrapper, with gradients that travel as bf16: half of the bytes.

    Gradients, weights and the optimizer stay in float32; what is added up over the GPUs is rounded
    to eight bits. detectron2 trains ViTDet with its fp16 counterpart.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_comm_hook(None, bf16_compress_hook)
