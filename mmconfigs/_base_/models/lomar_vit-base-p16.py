# LoMaR (arXiv 2206.00790): 4 windows of 7 x 7 patches, 80 % of each masked, normalised pixels.
model = dict(
    type='LoMaR',
    data_preprocessor=dict(
        type='PretrainDataPreprocessor',
        mean=[123.675, 116.28, 103.53],  # R, G, B
        std=[58.395, 57.12, 57.375],
        non_blocking=True,  # asynchronous copy from pinned memory
    ),
    backbone=dict(type='LoMaRViT', arch='base', img_size=224, patch_size=16),
    windows=dict(size=7, number=4, mask_ratio=0.8, sampling='image'),
    head=dict(type='WindowPixelHead', norm_pix=True),
)
