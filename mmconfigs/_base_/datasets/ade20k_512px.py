# ADE20K (SceneParse150), with mmseg's augmentation: resize by 0.5 to 2, crop, flip, colours.
train_dataloader = dict(
    batch_size=2,  # per GPU; 8 GPUs = 16
    num_workers=4,
    sampler=dict(type='InfiniteReplaySampler', shuffle=True),
    dataset=dict(
        type='MaskedImages',
        data_root='data/ade/ADEChallengeData2016/images/training',
        mask_root='data/ade/ADEChallengeData2016/annotations/training',
        metainfo=dict(
            classes=(  # noqa: SIM905
                'wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, '
                'cabinet, sidewalk, person, earth, door, table, mountain, plant, curtain, '
                'chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field, '
                'armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, '
                'base, box, column, signboard, chest of drawers, counter, sand, sink, '
                'skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, '
                'pool table, pillow, screen door, stairway, river, bridge, bookcase, blind, '
                'coffee table, toilet, flower, book, hill, bench, countertop, stove, palm, '
                'kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, '
                'towel, light, truck, tower, chandelier, awning, streetlight, booth, television '
                'receiver, airplane, dirt track, apparel, pole, land, bannister, escalator, '
                'ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyor belt, '
                'canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, '
                'tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name, '
                'microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, '
                'hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate, '
                'monitor, bulletin board, shower, radiator, glass, clock, flag'
            ).split(', '),
        ),
        reduce_zero_label=True,  # 0 = other objects
        pipeline=[
            dict(type='LoadImage', color_type='color'),  # B, G, R, as mmseg's transforms expect
            dict(type='LoadMask'),
            dict(type='RandomResize', scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
            dict(type='RandomCrop', crop_size=(512, 512), cat_max_ratio=0.75),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PhotoMetricDistortion'),
            dict(type='PackSegInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='MaskedImages',
        data_root='data/ade/ADEChallengeData2016/images/validation',
        mask_root='data/ade/ADEChallengeData2016/annotations/validation',
        metainfo=train_dataloader['dataset']['metainfo'],
        reduce_zero_label=True,
        test_mode=True,
        pipeline=[
            dict(type='LoadImage', color_type='color'),
            dict(type='Resize', scale=(2048, 512), keep_ratio=True),
            dict(type='LoadMask'),  # in the size of the image, in which the IoU is computed
            dict(type='PackSegInputs'),
        ],
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='ClassIoU')
test_evaluator = val_evaluator
