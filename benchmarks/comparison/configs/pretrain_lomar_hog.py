# LoMaR with MaskFeat's target: a patch is one cell of 8 pixels.
_base_ = './pretrain_lomar.py'

model = dict(head=dict(_delete_=True, type='WindowHead', target=dict(type='HOGTarget')))
