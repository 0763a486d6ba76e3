_base_ = 'mask-rcnn_vitdet-b_lomar_lsj-100e_coco.py'

# 12 epochs = 22125 iterations x 64 images / 118000 images, with a learning-rate drop of their own.
train_cfg = dict(max_iters=22125)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=22125, milestones=[22125 * 8 // 9, 22125 * 26 // 27]),
]
