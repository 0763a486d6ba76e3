"""Changes of the protocol that are tried on the nuclei, to find where pretraining pays."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STATISTICS = {  # of the training images: `lomar statistics`, R, G, B
    'model.data_preprocessor.mean': '[59.9,57.8,62.4]',
    'model.data_preprocessor.std': '[83.5,81.8,86.7]',
}
RANDOM = ('random-lomar', 'random-mae')


@dataclass(frozen=True)
class Variant:
    """A change of pretraining and detector; runs of other contenders have only the latter.

    Attributes:
        config: config of LoMaR's pretraining, in configs/.
        pretraining, detector: settings that differ.
        longer, tuned: factors of the steps of pretraining and of fine-tuning.
        contenders: contenders beside LoMaR.
        repeated: also run with the seeds of the results, and tested on the validation images.
    """

    name: str
    config: str = 'pretrain_lomar'
    pretraining: Mapping[str, Any] = field(default_factory=dict)
    detector: Mapping[str, Any] = field(default_factory=dict)
    longer: int = 1
    tuned: int = 1
    contenders: tuple[str, ...] = ()
    repeated: bool = False

    @property
    def pretrains(self) -> bool:
        """Return whether the pretraining differs."""
        return bool(self.pretraining) or self.longer > 1 or self.config != 'pretrain_lomar'


DECAY = 'optim_wrapper.paramwise_cfg.layer_decay'
VARIANTS = (  # the cheapest first
    Variant('HOG target', config='pretrain_lomar_hog'),
    Variant('embedding and two blocks frozen', detector={'model.backbone.frozen_stages': 3}),
    Variant('layer decay 0.75', detector={DECAY: 0.75}),
    Variant('layer decay 1', detector={DECAY: 1.0}, contenders=RANDOM),
    Variant(
        '8 windows of 5 x 5',
        pretraining={'model.windows.size': 5, 'model.windows.number': 8},
    ),
    Variant('60 % masked', pretraining={'model.windows.mask_ratio': 0.6}),
    Variant(
        'mean and deviation of the nuclei',
        pretraining=STATISTICS,
        detector=STATISTICS,
        contenders=RANDOM,
        repeated=True,
    ),
    Variant('4 x the fine-tuning', tuned=4, contenders=RANDOM),
    Variant('4 x the pretraining', longer=4),
)
