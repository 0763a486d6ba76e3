"""A small detector that finds objects everywhere, and images for it."""

import numpy as np
import torch
from conftest import FIXTURES

from lomar.checkpoints import load_file
from lomar.checkpoints.config_reader import stored_config

V01 = FIXTURES / 'v0.1'
OBJECTS = 6  # per image


def detector_file(path, change=lambda config: None, **meta):
    """Write the checkpoint of a detector, with its stored config changed."""
    content = load_file(V01 / 'detector_lomar.pth')
    config = stored_config(content)
    config.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=OBJECTS)
    change(config)
    text = '\n'.join(f'{key} = {value!r}' for key, value in config.to_dict().items())
    content['meta'].update(cfg=text, **meta)
    del content['message_hub']
    torch.save(content, path)
    return path


def noise(height=50, width=80, dtype=np.uint8, channels=3, seed=0):
    """Random pixels; 12 bits unless they have 8."""
    high = 256 if dtype == np.uint8 else 4096
    return np.random.default_rng(seed).integers(0, high, (height, width, channels)).astype(dtype)
