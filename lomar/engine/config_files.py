"""Config files by path or by packaged name."""

from difflib import get_close_matches
from pathlib import Path

FOLDER = (Path(__file__).parents[1] / '.mim/configs').resolve()  # in a checkout, mmconfigs


def find_config(name: str | Path) -> Path:
    """Return the path of a config: `name` itself, or the packaged config of that name.

    Args:
        name: a file, or a name such as `detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco`, with or
            without `.py`.
    """
    if Path(name).is_file():
        return Path(name)
    packaged = packaged_configs()
    known = str(name).removesuffix('.py')
    if known in packaged:
        return packaged[known]
    # A name may lack its folder, or be a path that begins with another one.
    stems = {stem.rpartition('/')[2]: stem for stem in packaged}
    near = get_close_matches(known, packaged) + get_close_matches(known.rpartition('/')[2], stems)
    near += [one for one in packaged if known in one]
    near = list(dict.fromkeys(stems.get(stem, stem) for stem in near))
    found = f'nearest names: {", ".join(near)}' if near else f'all names: files in {FOLDER}'
    raise FileNotFoundError(f'{name} is neither a file nor a packaged config; {found}')


def packaged_configs() -> dict[str, Path]:
    """Return the packaged configs by name; those in `_base_` are parts of configs."""
    files = sorted(FOLDER.rglob('*.py'))
    names = {path.relative_to(FOLDER).with_suffix('').as_posix(): path for path in files}
    return {name: path for name, path in names.items() if not name.startswith('_base_/')}
