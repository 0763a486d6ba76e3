_base_ = 'fcos_vitdet-tiny-lomar_shapes.py'

load_from = None
