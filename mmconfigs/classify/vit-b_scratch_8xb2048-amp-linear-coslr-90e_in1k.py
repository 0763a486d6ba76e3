# What random features give: the floor of linear probing.
_base_ = './vit-b_lomar_8xb2048-amp-linear-coslr-90e_in1k.py'

load_from = None
