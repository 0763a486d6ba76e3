_base_ = './vit-h-p14_lomar_8xb128-amp-coslr-50e_in1k.py'

load_from = None
