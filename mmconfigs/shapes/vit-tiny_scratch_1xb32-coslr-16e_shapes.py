_base_ = './vit-tiny_lomar_1xb32-coslr-16e_shapes.py'

load_from = None
