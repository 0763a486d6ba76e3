_base_ = 'mask2former_vitdet-b_lomar_lsj-50e_coco.py'

load_from = None
