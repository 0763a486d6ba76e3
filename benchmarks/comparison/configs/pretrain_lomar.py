# LoMaR of the comparison on real images.
_base_ = '../../../mmconfigs/tiny/lomar_vit-tiny-p8_1xb64-coslr-100e_in1k-192px.py'

default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, interval=1000))
custom_hooks = _base_.custom_hooks[:-1]  # no pictures
