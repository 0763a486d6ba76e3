# The paper's recipe: ViT-B/16, 224 px, 4 windows of 7 x 7 patches, 80 % masked, normalised pixels,
# 1600 epochs of ImageNet-1k at an effective batch of 8 GPUs x 512 = 4096.
#
# Other GPUs: keep the product, e.g. one GPU with 256 images and 16 steps of accumulation,
#   --cfg-options train_dataloader.batch_size=256 optim_wrapper.accumulative_counts=16
# or change it and let the learning rate follow with --auto-scale-lr.
# Variants: --cfg-options model.windows.size=5 model.windows.number=8 model.windows.mask_ratio=0.75
_base_ = 'pretrain/lomar_vit-base-p16_8xb512-amp-coslr-1600e_in1k.py'
