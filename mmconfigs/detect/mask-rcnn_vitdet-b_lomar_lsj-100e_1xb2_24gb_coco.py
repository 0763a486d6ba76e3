_base_ = 'mask-rcnn_vitdet-b_lomar_lsj-100e_8xb2_24gb_coco.py'

# 1 GPU of 24 GB: 1 x 2 images x 32 steps of accumulation = 64.
optim_wrapper = dict(accumulative_counts=32)
train_cfg = dict(max_iters=184375 * 32, val_interval=5000 * 32)
default_hooks = dict(checkpoint=dict(interval=5000 * 32))
