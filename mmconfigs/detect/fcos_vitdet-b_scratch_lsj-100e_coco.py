_base_ = 'fcos_vitdet-b_lomar_lsj-100e_coco.py'

load_from = None
