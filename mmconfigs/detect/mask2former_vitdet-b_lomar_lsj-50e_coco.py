_base_ = [
    '../_base_/models/mask2former_vitdet-b.py',
    '../_base_/datasets/coco_lsj-1024px.py',
    '../_base_/schedules/mask2former-50e_bs16.py',
    '../_base_/runtime_detect.py',
]

train_dataloader = dict(batch_size=2)  # 8 GPUs = 16

load_from = 'work_dirs/lomar_pretrain/epoch_1600.pth'
