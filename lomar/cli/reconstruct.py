"""Draw reconstructions of images: input, windows and masks, prediction, composite."""

import argparse
from pathlib import Path

from lomar.cli.shared import add_config, count, image_paths, report_unreadable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_config(parser)
    add('checkpoint', metavar='CHECKPOINT', help='checkpoint of this package or of the LoMaR code')
    add('images', metavar='IMAGES', nargs='+', help='image files, folders or text lists of images')
    add('--out', metavar='DIR', default='reconstructions', help='folder for the pictures')
    add('--size', type=count, help='side in pixels to resize and crop to (default: native size)')
    add(
        '--num-windows',
        type=count,
        help='windows per image (default: windows.number of the config)',
    )
    add('--seed', type=int, default=0, help='seed of windows and masks')


def run(args: argparse.Namespace) -> None:
    """Draw one picture per image."""
    from tqdm import tqdm

    from lomar.datasets.folder_walk import mark_pictures
    from lomar.datasets.reading import Reading, training_reading
    from lomar.datasets.unreadable import IMAGE_ERRORS
    from lomar.engine import read_config
    from lomar.visualization import read_image, reconstruct, sheet
    from lomar.visualization.output_paths import check_files_kept, output_paths

    cfg = read_config(args.config, args.cfg_options)
    model = load_model(cfg, args)
    channels = model.backbone.in_channels
    reading = training_reading(cfg) or Reading(channels, channels == 3, cfg.get('value_range'))
    paths = image_paths(args.images, arrays=reading.reads_arrays)
    out = Path(args.out)
    patch_size = model.backbone.patch_size
    pictures = output_paths(paths, '.png')
    check_files_kept('--out', out, pictures)
    unreadable: dict[str, str] = {}
    for path, name in tqdm(pictures.items(), desc='reconstructing', unit='img'):
        try:
            batch = read_image(path, patch_size, args.size, reading)
            picture = sheet(reconstruct(model, batch, args.seed))
        except IMAGE_ERRORS as error:  # such as fewer patches than a window
            unreadable[path] = getattr(error, 'reason', str(error))
            continue
        mark_pictures(out)
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(out / name)
    print(f'{len(pictures) - len(unreadable)} pictures in {out.resolve()}')
    report_unreadable(unreadable, len(pictures))


def load_model(cfg, args: argparse.Namespace):
    """Return the LoMaR of the config with all weights of the checkpoint."""
    import torch
    from mmengine.registry import MODELS, init_default_scope

    from lomar.checkpoints import from_official, load_file, unwrap
    from lomar.checkpoints.files import OWN_CONFIG, misfit_as_value_error, naming
    from lomar.utils import type_name

    if type_name(cfg.model) != 'LoMaR':
        raise ValueError(f'{args.config}: model.type is {cfg.model.type}; allowed: LoMaR')
    init_default_scope(cfg.default_scope)
    if args.num_windows:
        cfg.model.windows.number = args.num_windows
    model = MODELS.build(cfg.model)
    content = load_file(args.checkpoint)
    with naming(args.checkpoint), misfit_as_value_error(OWN_CONFIG):
        model.load_state_dict(from_official(unwrap(content), 'pretrain'))
    return model.to('cuda' if torch.cuda.is_available() else 'cpu')
