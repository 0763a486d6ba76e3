# Published: 0.2 points above MAE (arXiv 2206.00790v3; the abstract names neither data nor metric).
_base_ = [
    '../_base_/models/upernet_vit-b.py',
    '../_base_/datasets/ade20k_512px.py',
    '../_base_/schedules/upernet-160k_bs16.py',
    '../_base_/runtime_segment.py',
]

load_from = 'work_dirs/lomar_pretrain/epoch_1600.pth'
