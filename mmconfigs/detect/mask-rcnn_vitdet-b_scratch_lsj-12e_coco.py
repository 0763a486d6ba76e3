_base_ = 'mask-rcnn_vitdet-b_lomar_lsj-12e_coco.py'

load_from = None
