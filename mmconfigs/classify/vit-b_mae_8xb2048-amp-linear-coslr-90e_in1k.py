_base_ = './vit-b_lomar_8xb2048-amp-linear-coslr-90e_in1k.py'

# MAE probes the cls token, which its norm was trained for.
model = dict(backbone=dict(position='absolute', out_type='cls_token'))

load_from = 'work_dirs/mae_vit-base-p16_8xb512-amp-coslr-1600e_in1k/epoch_1600.pth'
