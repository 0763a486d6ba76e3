_base_ = 'mask-rcnn_vitdet-b_mae_lsj-100e_coco.py'

# 50 epochs = 92187 iterations x 64 images / 118000 images, with a learning-rate drop of their own.
train_cfg = dict(max_iters=92187)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=92187, milestones=[92187 * 8 // 9, 92187 * 26 // 27]),
]
