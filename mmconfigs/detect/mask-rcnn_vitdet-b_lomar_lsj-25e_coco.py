_base_ = 'mask-rcnn_vitdet-b_lomar_lsj-100e_coco.py'

# 25 epochs = 46093 iterations x 64 images / 118000 images, with a learning-rate drop of their own.
train_cfg = dict(max_iters=46093)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=46093, milestones=[46093 * 8 // 9, 46093 * 26 // 27]),
]
