# Published: 84.1 % top-1 from 1600 epochs of LoMaR (arXiv 2206.00790).
_base_ = [
    '../_base_/models/vit-b_classifier.py',
    '../_base_/datasets/in1k_224px_classes_bs128.py',
    '../_base_/schedules/adamw-coslr-100e_bs1024.py',
    '../_base_/runtime_classify.py',
]

load_from = 'work_dirs/lomar_pretrain/epoch_1600.pth'
