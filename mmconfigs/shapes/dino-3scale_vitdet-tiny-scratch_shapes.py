_base_ = 'dino-3scale_vitdet-tiny-lomar_shapes.py'

load_from = None
