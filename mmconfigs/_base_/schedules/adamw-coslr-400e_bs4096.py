_base_ = './adamw-coslr-1600e_bs4096.py'

train_cfg = dict(max_epochs=400)
