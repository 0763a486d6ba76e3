# LoMaR that predicts histograms of oriented gradients (MaskFeat, arXiv 2112.09133), not pixels.
_base_ = './lomar_vit-base-p16_8xb512-amp-coslr-400e_in1k.py'

model = dict(head=dict(_delete_=True, type='WindowHead', target=dict(type='HOGTarget')))
