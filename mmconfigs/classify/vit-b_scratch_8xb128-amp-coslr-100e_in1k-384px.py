_base_ = './vit-b_lomar_8xb128-amp-coslr-100e_in1k-384px.py'

load_from = None
