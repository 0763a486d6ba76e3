_base_ = 'rtmdet_vitdet-tiny-lomar_shapes.py'

load_from = None
