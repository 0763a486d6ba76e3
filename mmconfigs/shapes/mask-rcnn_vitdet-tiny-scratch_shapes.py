_base_ = 'mask-rcnn_vitdet-tiny-lomar_shapes.py'

load_from = None
