_base_ = 'mask-rcnn_vitdet-b_lomar_lsj-100e_coco.py'

# 8 GPUs of 24 GB: 8 x 2 images x 4 steps of accumulation = 64. Iterations count single steps.
model = dict(backbone=dict(with_cp=True))
train_dataloader = dict(batch_size=2, num_workers=4)
optim_wrapper = dict(accumulative_counts=4)
train_cfg = dict(max_iters=184375 * 4, val_interval=5000 * 4)
default_hooks = dict(checkpoint=dict(interval=5000 * 4))
