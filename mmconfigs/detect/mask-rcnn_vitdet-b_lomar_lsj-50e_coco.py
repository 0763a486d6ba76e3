_base_ = 'mask-rcnn_vitdet-b_lomar_lsj-100e_coco.py'

# 50 epochs = 92187 iterations x 64 images / 118000 images.
train_cfg = dict(max_iters=92187)
param_scheduler = [
    dict(_base_.param_scheduler[0], end='250/92187'),  # 250 iterations, as for 100 epochs
    _base_.param_scheduler[1],
]
