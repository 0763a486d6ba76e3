_base_ = 'mask2former_vitdet-tiny-lomar_shapes.py'

load_from = None
