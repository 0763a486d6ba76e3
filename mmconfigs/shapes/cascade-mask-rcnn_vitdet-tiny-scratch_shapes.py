_base_ = 'cascade-mask-rcnn_vitdet-tiny-lomar_shapes.py'

load_from = None
