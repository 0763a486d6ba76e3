_base_ = [
    '../_base_/models/cascade-mask-rcnn_vitdet-b.py',
    '../_base_/datasets/coco_lsj-1024px.py',
    '../_base_/schedules/vitdet-100e_bs64.py',
    '../_base_/runtime_detect.py',
]

load_from = 'work_dirs/lomar_pretrain/epoch_1600.pth'
