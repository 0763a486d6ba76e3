_base_ = 'mask-rcnn_vitdet-b_lomar_lsj-100e_8xb2_24gb_coco.py'

load_from = None
