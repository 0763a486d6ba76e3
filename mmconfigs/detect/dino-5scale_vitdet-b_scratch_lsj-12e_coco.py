_base_ = 'dino-5scale_vitdet-b_lomar_lsj-12e_coco.py'

load_from = None
