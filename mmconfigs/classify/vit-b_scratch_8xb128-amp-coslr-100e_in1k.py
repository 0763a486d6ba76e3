# The recipe of fine-tuning from random weights; MAE's own numbers for these are of 300 epochs.
_base_ = './vit-b_lomar_8xb128-amp-coslr-100e_in1k.py'

load_from = None
