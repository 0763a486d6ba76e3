"""How the shell lines of the docs are run, or which other test runs them.

A line that is in neither table is run as it stands in the folder of its page.
"""

from dataclasses import dataclass, field

# Beginning of a line, by page: a test, or a file of CI, that runs it.
DEMO = 'tests/engine/test_train.py::test_demo'
OWN = 'tests/engine/test_train.py::test_demo_on_ones_own_images'
COMPARISON = 'tests/benchmarks/test_comparison.py::test_the_command'
CHANNELS = 'tests/datasets/test_channels.py'
TUTORIAL = 'tests/docs/test_tutorial.py::test_the_commands_run'
TESTED = {
    'README.md': {'make demo': DEMO, 'make test': '.ci/run'},
    'docs/comparison.md': {
        'python benchmarks/comparison/run.py nuclei --plan': (
            'tests/benchmarks/test_comparison.py::test_a_plan_lists_every_run_once'
        ),
        'python benchmarks/comparison/run.py nuclei': COMPARISON,
        'python benchmarks/comparison/run.py segment': COMPARISON,
        'python benchmarks/comparison/run.py imagenette': COMPARISON,
    },
    'docs/demo.md': {
        'make demo': DEMO,
        'make demo IMAGES=DIR': OWN,
        'lomar demo': DEMO,
        'lomar shapes': DEMO,
        'lomar train': DEMO,
    },
    'docs/export.md': {'lomar export': 'tests/docs/test_export_page.py::test_the_examples_run'},
    'docs/pretraining.md': {
        'lomar replay': 'tests/faults/test_nonfinite_losses.py::test_the_training_stops'
    },
    'docs/scaling.md': {
        'tools/dist_train.sh': (
            'tests/detection/test_detection.py::test_a_killed_rank_ends_the_others'
        ),
        'OMP_NUM_THREADS=1 tools/dist_train.sh': (
            'tests/engine/test_scale.py::test_gradients_are_compressed'
        ),
    },
    'docs/speed_record.md': {
        'python -m benchmarks.speed': 'tests/benchmarks/test_benchmark.py::test_the_command',
        'python -m benchmarks.gpu --toy': 'tests/benchmarks/test_gpu_benchmark.py'
        '::test_a_run_that_was_killed_goes_on_and_ends_with_the_table',
        'python -m benchmarks.detector': 'tests/benchmarks/test_benchmark_detector.py'
        '::test_every_part_is_measured',
    },
    'docs/tutorial.md': {'lomar': TUTORIAL, 'mkdir unseen': TUTORIAL, 'sh -c': TUTORIAL},
}

# What a marked line may need; such lines are not run.
NEEDS = r'(network|Docker|Slurm|MPI|a GPU|\d+ GPUs|the folder wheels|COCO|ADE20K|ImageNet)\b'

# A word of a usage line: what stands in its place.
WORDS = {
    'COMMAND': 'results --help',
    'CONFIG': 'CONFIG.py',
    'FORMAT': 'voc',
    'GPUS': '2',
    'M': '1',
    'N': '3',
    'NAME': 'cell',
    'REGEX': "'^(patient[0-9])_'",
}

# Settings that make a training small, by the beginning of its config's name.
DATA = 'train_dataloader.batch_size=2 train_dataloader.num_workers=0'
VIT = 'model.backbone.arch=tiny'
VAL = 'val_dataloader.num_workers=0 test_dataloader.num_workers=0'
DETECT = (
    f'--epochs 1 --cfg-options {DATA} {VAL} {VIT} model.neck.in_channels=192 '
    '"train_dataloader.dataset.pipeline.3.scale=(256,256)" '
    '"train_dataloader.dataset.pipeline.3.crop_size=(256,256)" '
    '"val_dataloader.dataset.pipeline.1.scale=(256,256)" '
    '"test_dataloader.dataset.pipeline.1.scale=(256,256)" '
    'model.data_preprocessor.pad_size_divisor=256 model.backbone.img_size=256'
)
SMALL = {
    'lomar_pretrain': f'--epochs 1 --cfg-options {DATA} {VIT}',
    'detect/': DETECT,
    'shapes/': f'--epochs 1 --cfg-options {DATA}',
    'tiny/': f'--cfg-options {DATA} {VAL} train_cfg.max_iters=1',
}


@dataclass(frozen=True)
class Page:
    """The folder in which the lines of a page are run, see shell_folder.py.

    Attributes:
        mark: `slow`, or `long` if the lines of the page take more than a few seconds.
        config: kind of CONFIG: pretrain, classifier, detector (with masks), boxes, segmentor.
        make: folders and files of the page, name: kind.
        before: beginning of a line: shell lines that are run before it.
        added: beginning of a line: what is added to it, if not that of SMALL.
        words: what stands in the place of words, as in WORDS.
    """

    mark: str = 'long'
    config: str = 'pretrain'
    make: dict[str, str] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    added: dict[str, str] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)


LOADING = '--size 64x48 --num-images 2 --repeats 2'
RUNS = {
    'README.md': Page(
        make={'photos': 'images', 'train': 'coco', 'val': 'few'},
        before={
            'lomar train detect/': 'cp work_dirs/lomar_pretrain/epoch_{1,1600}.pth',
            'lomar test detect/': 'cd work_dirs/mask-rcnn*; cp iter_{?,22125}.pth',
        },
    ),
    'docs/annotations.md': Page(
        mark='slow',
        config='boxes',
        make={'data/blood': 'voc', 'IN': 'voc', 'patients': 'patients'},
        before={
            'lomar import FORMAT': 'mkdir DIR; mv IN/JPEGImages/* DIR',
            'lomar split IN.json': 'rm -f DIR/*.json; cp patients.json IN.json',
            'lomar split all.json': 'rm DIR/*.json; cp patients.json all.json',
            'lomar statistics --objects ANN.json': 'cp all.json ANN.json; rm objects.png',
        },
    ),
    'docs/checkpoints.md': Page(mark='slow', make={'IN': 'official'}, words={'OUT': 'OUT.pth'}),
    'docs/classification.md': Page(
        mark='slow',
        config='classifier',
        make={'DIR': 'classes', 'IMAGES': 'images', 'CHECKPOINT': 'classifier'},
        before={'lomar predict': 'mv DIR classes'},
    ),
    'docs/commands.md': Page(mark='slow'),
    'docs/comparison.md': Page(mark='slow', make={'data/nuclei/images': 'object_masks'}),
    'docs/cost.md': Page(words={'CONFIG': 'lomar_pretrain'}),
    'docs/data.md': Page(
        config='pretrain',
        make={
            'data/shapes/train': 'int16',
            'IMAGES': 'int16',
            'IN': 'images',
            'data/s2/train': 'channels',
            'CHECKPOINT': 'pretrain',
            'DIR': 'channel_classes',
        },
        before={
            'lomar resize IN OUT --short-side': 'rm -r OUT',
            'lomar train mmconfigs/s2/classify.py': 'cp work_dirs/pretrain/epoch_1.pth CHECKPOINT',
            'python -m benchmarks.loading': 'mkdir -p benchmarks/loading',
        },
        added={
            'lomar train mmconfigs/s2/pretrain.py': SMALL['lomar_pretrain'],
            'lomar train mmconfigs/s2/classify.py': (
                f'--epochs 1 --cfg-options {DATA} {VAL} {VIT} model.head.in_channels=192'
            ),
            'python -m benchmarks.loading --json': LOADING,
            'python -m benchmarks.loading --size': f'{LOADING} --regions 224',
            'python -m benchmarks.loading --regions': f'{LOADING} --regions 224 --raster 512',
        },
    ),
    'docs/detection.md': Page(
        config='detector',
        make={
            'DIR': 'coco',
            'CHECKPOINT': 'detector',
        },
        before={
            'lomar train CONFIG': 'cp DIR.json A.json; cp DIR.json B.json',
            'lomar train CONFIG --train-ann A.json --train-images DIR --val-ann B.json '
            '--val-images DIR --cfg-options': (
                "sed -i 's/checked/box/; s/dotted/traffic light/' A.json B.json"
            ),
            'lomar test CONFIG CHECKPOINT --val-ann image_info_test-dev2017.json': (
                'cp DIR-bare.json image_info_test-dev2017.json'
            ),
        },
    ),
    'docs/install.md': Page(),
    'docs/predict.md': Page(
        mark='slow',
        make={'IMAGES': 'images', 'scene.tif': 'scene', 'CHECKPOINT': 'detector'},
        before={'lomar predict CHECKPOINT scene.tif': 'rm -r DIR'},
    ),
    'docs/pretraining.md': Page(
        make={
            'DIR': 'images',
            'data/shapes/train': 'images',
            'IMAGES': 'images',
            'CHECKPOINT': 'pretrain',
            'epoch_125.pth': 'pretrain',
        },
        before={
            'lomar encode epoch_125.pth': 'cp DIR/*.jpg .',
        },
    ),
    'docs/publish.md': Page(
        config='detector',
        make={'work_dirs/my_detector/iter_22125.pth': 'detector', 'data/shapes': 'shapes'},
    ),
    'docs/scaling.md': Page(make={'data/shapes': 'shapes'}),
    'docs/segmentation.md': Page(
        config='segmentor',
        make={
            'work_dirs/lomar_vit-tiny-p8_1xb64-coslr-100e_in1k-192px/epoch_100.pth': 'tiny',
            'CHECKPOINT': 'segmentor',
            'IMAGES': 'images',
            'train': 'masks',
            'val': 'masks',
            'data/segment/val': 'masks',
        },
    ),
    'docs/shards.md': Page(
        make={'DIR': 'one_image', 'LIST': 'image_list'},
        before={
            'lomar train': 'for n in $(seq -w 1 127); do cp shards/000.tar shards/$n.tar; done',
            'lomar shard DIR|LIST': 'rm -rf DIR/* OUT; cp listed/* DIR',
        },
        added={'lomar train': f'{SMALL["lomar_pretrain"]} train_dataloader.batch_size=64'},
    ),
    'docs/speed_record.md': Page(
        mark='slow',
        before={
            'python -m benchmarks.gpu --table-only': (
                'cp tools/../benchmarks/gpu/gpu_nvidia-h200.json FILE'
            ),
        },
    ),
    'docs/targets.md': Page(
        make={'data/shapes': 'shapes'},
        added={'PYTHONPATH=. lomar train lomar-blurred.py': SMALL['shapes/']},
    ),
    'docs/tokens.md': Page(
        mark='slow',
        make={'DIR': 'images'},
        added={'lomar tokenizer': '--steps 2 --batch-size 2 --vocabulary 8'},
    ),
    'docs/tutorial.md': Page(),
}
