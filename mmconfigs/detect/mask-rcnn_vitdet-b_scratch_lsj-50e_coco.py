_base_ = 'mask-rcnn_vitdet-b_lomar_lsj-50e_coco.py'

load_from = None
