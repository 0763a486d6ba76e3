"""Settings of the comparison on real images; docs/comparison.md describes them."""

from dataclasses import dataclass, replace
from typing import Any

SEEDS = (0, 1, 2)
SEARCH_SEED = 100  # of the search for learning rates, which no result uses


@dataclass(frozen=True)
class Scale:
    """Sizes of the models and lengths of the trainings.

    Attributes:
        width, depth, heads, patch: of the encoder.
        decoder: width, depth and heads of MAE's decoder.
        batch: images per step of pretraining.
        nuclei_grid, detector_side: patches per side in pretraining on the nuclei, and pixels per
            side of the images for the detector.
        nuclei_steps, imagenette_epochs: length of LoMaR's pretraining.
        grids: patches per side in pretraining on Imagenette; the classifier has the first.
        probes: number of probes during a pretraining on Imagenette.
        probe_batch: images per forward pass of a probe.
        probe_hours: of a probe with LoMaR's positions, on one slot, by patches per side; for the
            plan. One with MAE's positions takes two thirds of it. Not measured: 0.
        detector: further settings of the detector.
        rates: learning rates of the search, of pretraining and fine-tuning.
        search_share: length of a pretraining in the search, as a share of the full length.
        seeds: seeds of the results.
        labels, classes: numbers of labelled images for the detector and for the classifier, in the
            order of their runs.
        detector_hours, classifier_hours: of a fine-tuning with its evaluation, on one slot; for
            the plan.
        segmenter_side, segmenter_crop: pixels of the shorter side of an image to segment, and of
            the sides of a crop, which has the grid of the pretraining.
        segmenter_labels: numbers of labelled images for the segmentation.
        segmenter_hours: as `detector_hours`.
        searched: numbers of labelled images in the search, of detector and classifier.
    """

    width: int
    depth: int
    heads: int
    patch: int
    decoder: tuple[int, int, int]
    batch: int
    nuclei_grid: int
    nuclei_steps: int
    detector_side: int
    imagenette_epochs: int
    grids: tuple[int, ...] = (14, 24, 28)
    probes: int = 5
    probe_batch: int = 256
    probe_hours: tuple[tuple[int, float], ...] = ()
    detector: tuple[tuple[str, Any], ...] = ()
    rates: tuple[float, ...] = (1e-3, 5e-4, 2e-3)  # the first is tried first
    search_share: float = 1.0
    seeds: tuple[int, ...] = SEEDS
    labels: tuple[int, ...] = (32, 8, 128, 530)
    classes: tuple[int, ...] = (100, 1000, 9469)
    detector_steps: int = 400
    detector_batch: int = 4
    classifier_steps: int = 400
    classifier_batch: int = 50
    segmenter_side: int = 256
    segmenter_crop: int = 192
    segmenter_steps: int = 300
    segmenter_labels: tuple[int, ...] = (8, 32)
    searched: tuple[int, int] = (32, 1000)
    detector_hours: float = 0.1
    classifier_hours: float = 0.03
    segmenter_hours: float = 0.042


SCALES = dict(
    cpu=Scale(
        width=128,
        depth=4,
        heads=4,
        patch=8,
        decoder=(64, 2, 4),
        batch=64,
        nuclei_grid=24,
        nuclei_steps=1000,
        detector_side=256,
        imagenette_epochs=10,
        probes=2,  # each takes minutes
        probe_batch=4,  # the activations of more images do not fit into the cache
        probe_hours=((14, 0.08), (24, 0.17), (28, 0.24)),  # from the logs of the runs
        classifier_batch=25,
        classifier_hours=0.12,  # in float32
    ),
    # ViT-S/16; learning rates as for MAE, 1.5e-4 per 256 images, are among the searched ones.
    gpu=Scale(
        width=384,
        depth=12,
        heads=6,
        patch=16,
        decoder=(256, 4, 8),
        batch=128,
        nuclei_grid=28,
        nuclei_steps=2000,
        detector_side=512,
        segmenter_side=512,
        segmenter_crop=448,
        imagenette_epochs=100,
        detector=(
            ('model.backbone.window_size', 16),  # 512 / 16 = 32 = 2 x 16
            ('model.backbone.global_blocks', '[2,5,8,11]'),
            ('model.backbone.drop_path_rate', 0.1),
            ('model.neck.scales', '[4,2,1]'),  # strides 4, 8, 16
            ('optim_wrapper.paramwise_cfg.layer_decay', 0.75),
        ),
        rates=(5e-4, 2.5e-4, 1e-3),
        search_share=1 / 4,
        seeds=(0,),
    ),
)

# Two steps of everything: a test of the commands, whose numbers mean nothing.
SCALES['smoke'] = replace(
    SCALES['cpu'],
    width=32,
    heads=2,
    decoder=(32, 1, 2),
    batch=4,
    nuclei_grid=8,
    nuclei_steps=12,
    detector_side=64,
    imagenette_epochs=2,
    grids=(8, 9),
    detector=(('model.neck.out_channels', 64),),
    rates=(1e-3, 5e-4),
    seeds=(0,),
    labels=(2,),
    classes=(4,),
    detector_steps=4,
    detector_batch=2,  # batch norm of a map of one pixel needs two images
    segmenter_side=64,
    segmenter_crop=64,
    segmenter_steps=4,
    segmenter_labels=(2,),
    classifier_steps=4,
    classifier_batch=2,
    searched=(2, 4),
)


def encoder(scale: Scale, method: str, side: int) -> dict[str, Any]:
    """Return the settings of a method's pretraining model for images of a side in pixels."""
    backbone = {'model.backbone.img_size': side, 'model.backbone.patch_size': scale.patch}
    if method == 'lomar':
        return {**arch(scale), **backbone}
    width, depth, heads = scale.decoder
    return {
        'model.backbone.arch.embed_dims': scale.width,
        'model.backbone.arch.num_layers': scale.depth,
        'model.backbone.arch.num_heads': scale.heads,
        'model.backbone.arch.feedforward_channels': 4 * scale.width,
        **backbone,
        'model.neck.num_patches': (side // scale.patch) ** 2,
        'model.neck.patch_size': scale.patch,
        'model.neck.embed_dim': scale.width,
        'model.neck.decoder_embed_dim': width,
        'model.neck.decoder_depth': depth,
        'model.neck.decoder_num_heads': heads,
        'model.head.patch_size': scale.patch,
    }


def arch(scale: Scale) -> dict[str, Any]:
    """Return the settings of an `RPEViT`'s width, depth and heads."""
    return {
        'model.backbone.arch.embed_dim': scale.width,
        'model.backbone.arch.depth': scale.depth,
        'model.backbone.arch.num_heads': scale.heads,
    }
