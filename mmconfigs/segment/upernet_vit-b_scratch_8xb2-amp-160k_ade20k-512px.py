_base_ = './upernet_vit-b_lomar_8xb2-amp-160k_ade20k-512px.py'

load_from = None
