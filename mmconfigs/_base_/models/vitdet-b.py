# A plain ViT-B with a feature pyramid, after detectron2's projects/ViTDet (commit 02b5c4e2). Where
# mmdet's projects/ViTDet departs from it, detectron2 is followed, as the comments say. Heads take
# the five levels of the pyramid, with strides 4 to 64, or some of these levels.
model = dict(
    data_preprocessor=dict(
        type='ChannelsDetDataPreprocessor',
        bgr_to_rgb=True,  # pipelines deliver B, G, R, as do mmdet's own
        mean=[123.675, 116.28, 103.53],  # R, G, B
        std=[58.395, 57.12, 57.375],
        non_blocking=True,  # asynchronous copy from pinned memory
        pad_size_divisor=1024,  # padded with 0 after normalization (mmdet: 114, before it)
    ),
    backbone=dict(
        type='RPEViT',
        arch='base',
        img_size=1024,
        patch_size=16,
        out_type='featmap',
        with_cls_token=False,
        final_norm=False,  # none after the last block
        window_size=14,
        global_blocks=(2, 5, 8, 11),  # the last of each quarter
        drop_path_rate=0.1,
    ),
    neck=dict(type='SimpleFeaturePyramid', in_channels=768, out_channels=256),
)
