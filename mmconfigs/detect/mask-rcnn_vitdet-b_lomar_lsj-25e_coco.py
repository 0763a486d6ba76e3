_base_ = 'mask-rcnn_vitdet-b_lomar_lsj-100e_coco.py'

# 25 epochs = 46093 iterations x 64 images / 118000 images.
train_cfg = dict(max_iters=46093)
param_scheduler = [
    dict(_base_.param_scheduler[0], end='250/46093'),  # 250 iterations, as for 100 epochs
    _base_.param_scheduler[1],
]
