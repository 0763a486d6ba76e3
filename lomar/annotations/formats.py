"""Import of annotations in other formats as the content of a COCO file."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lomar.annotations import kitti, voc, yolo
from lomar.annotations.coco_lists import OTHER_CLASS, UNANNOTATED, to_coco
from lomar.annotations.cvat import CvatFile, read_cvat
from lomar.annotations.image_folder import ImageFolder
from lomar.annotations.labelformat_readers import lightly_classes, read_labelbox, read_lightly
from lomar.annotations.labelme import read_labelme
from lomar.annotations.mask_images import LARGEST, read_masks
from lomar.annotations.source import ImportReport, SourceImage, folder_above


@dataclass
class Source:
    """An opened source: the folder of its images, its classes in order, and their reading.

    Attributes:
        classes: () if the source has no order of classes.
    """

    images: ImageFolder
    read: Callable[[ImportReport], Iterable[SourceImage]]
    classes: tuple[str, ...] = ()


def open_voc(path: Path, images: str | None, **options: Any) -> Source:
    """Return a source of Pascal VOC."""
    folder = ImageFolder(images or voc.image_folder(_folder(path)))
    return Source(folder, lambda report: voc.read_voc(path, folder, report, **options))


def open_yolo(path: Path, images: str | None, split: str | None = None) -> Source:
    """Return a source of YOLO; `path` is data.yaml, or its folder."""
    data = yolo.DataYaml(yolo.data_file(path))
    if images and split:
        raise ValueError('--split and --images name two folders of images; allowed: one of them')
    folder = ImageFolder(images or data.image_folder(split))
    names = tuple(data.names.values())
    return Source(folder, lambda report: yolo.read_yolo(data.names, folder, report), names)


def open_kitti(path: Path, images: str | None) -> Source:
    """Return a source of KITTI."""
    folder = ImageFolder(images or kitti.image_folder(_folder(path)))
    return Source(folder, lambda report: kitti.read_kitti(path, folder, report))


def open_cvat(path: Path, images: str | None) -> Source:
    """Return a source of "CVAT for images 1.1"; `path` is annotations.xml, or its folder."""
    path = _file(path / 'annotations.xml' if path.is_dir() else path)
    beside = path.parent / 'images'
    folder = ImageFolder(images or (beside if beside.is_dir() else path.parent))
    file = CvatFile(path)
    return Source(folder, lambda report: read_cvat(file, folder, report), file.names)


def open_labelme(path: Path, images: str | None) -> Source:
    """Return a source of LabelMe."""
    folder = ImageFolder(images or _folder(path))
    return Source(folder, lambda report: read_labelme(path, folder, report))


def open_masks(
    path: Path,
    images: str | None,
    layout: str = 'ids',
    void: int = 0,
    classes: Sequence[str] = (),
) -> Source:
    """Return a source of masks as PNG files; the only one of `classes` needs no folder."""
    if not 0 <= void <= LARGEST:
        raise ValueError(f'--void is {void}; allowed: 0 to {LARGEST}')
    folder = ImageFolder(_needed(images))
    if _folder(path).resolve().is_relative_to(folder.root.resolve()):
        raise ValueError(f'the masks in {path} are in the folder of images, {folder.root}')
    name = classes[0] if len(classes) == 1 else None
    folders = {each.name for each in path.iterdir() if each.is_dir()}
    # A folder of the class, unless the images have such a folder, or an image has this name.
    if name in folders and not (folder.has_stem(name) or (folder.root / name).is_dir()):
        name = None
    return Source(folder, lambda report: read_masks(path, folder, report, name, layout, void))


def open_labelbox(path: Path, images: str | None, **options: Any) -> Source:
    """Return a source of Labelbox; `path` is an NDJSON file."""
    folder = ImageFolder(_needed(images))
    _file(path)
    return Source(folder, lambda report: read_labelbox(path, folder, report, **options))


def open_lightly(path: Path, images: str | None) -> Source:
    """Return a source of Lightly; `path` is a folder with schema.json."""
    folder = ImageFolder(images or folder_above(_folder(path)) / 'images')
    classes = lightly_classes(path)
    return Source(folder, lambda report: read_lightly(path, folder, report), classes)


FORMATS: dict[str, Callable[..., Source]] = dict(
    voc=open_voc,
    yolo=open_yolo,
    kitti=open_kitti,
    cvat=open_cvat,
    labelme=open_labelme,
    masks=open_masks,
    labelbox=open_labelbox,
    lightly=open_lightly,
)


def import_annotations(
    name: str,
    path: str | Path,
    images: str | None = None,
    classes: Sequence[str] = (),
    difficult: str = 'ignore',
    only_annotated: bool = False,
    **options: Any,
) -> tuple[dict, ImportReport, Path]:
    """Return annotations as the content of a COCO file, a report, and the folder of its images.

    What the report has as errors is not in the content.

    Args:
        name: one of `FORMATS`.
        path: file or folder of the annotations.
        images: folder of the images (default: that of the format, beside the annotations).
        classes, difficult, only_annotated: see `to_coco`.
        options: of the format.

    Raises:
        FileNotFoundError: the annotations or the folder of images do not exist.
        ImportError: the format needs labelformat, which is not installed.
        SourceError, a ValueError: a file that describes all annotations is malformed.
        ValueError: an option is wrong, or there are no annotations.
    """
    if wrong := [one for one in classes if not one.strip() or list(classes).count(one) > 1]:
        raise ValueError(f'--classes has {wrong[0]!r}; allowed: names, each of them once')
    if name == 'masks':
        options['classes'] = classes
    source = FORMATS[name](Path(path), images, **options)
    report = ImportReport()
    only_annotated = only_annotated or (name == 'voc' and bool(options.get('split')))
    choices = (source.classes, classes, difficult, only_annotated)
    coco = to_coco(source.read(report), source.images, report, *choices)
    _check_images(source.images, report)
    _check_found(coco, report, path, classes)
    found = {one['category_id'] for one in coco['annotations']}
    lost = [one['name'] for one in coco['categories'] if one['id'] not in found]
    if classes and lost:
        report.note(str(path), 'a class of --classes has no annotations: ', ', '.join(lost))
    masks = sum('segmentation' in one for one in coco['annotations'])
    if 0 < masks < len(coco['annotations']):
        detail = f'{len(coco["annotations"]) - masks} of {len(coco["annotations"])}'
        report.note(str(path), 'annotations without a mask, which Mask R-CNN needs: ', detail)
    return coco, report, source.images.root


def _check_images(folder: ImageFolder, report: ImportReport) -> None:
    """Raise one ValueError if no annotation names an image of the folder, for one reason."""
    counts = list(report.errors.kinds.items())
    if folder.used or len(counts) != 1 or counts[0][1][0] == 1:
        return
    kind, (number, (first, *_)) = counts[0]
    raise ValueError(
        f'{number} x {kind.rstrip(" :,")}: no annotation names an image in {folder.root}, which '
        f'has {len(folder.names)} images; --images DIR names another folder. The first one: {first}'
    )


def _check_found(
    coco: dict, report: ImportReport, path: str | Path, classes: Sequence[str]
) -> None:
    """Raise a ValueError if there are no annotations at all, or none of the given classes."""
    unnamed = report.notes.kinds.get(UNANNOTATED, [0])[0]
    if len(coco['images']) == unnamed and not report.errors.kinds:
        raise ValueError(f'{path} has no annotations of this format')
    if not coco['annotations'] and OTHER_CLASS in report.notes.kinds:
        first = report.notes.kinds[OTHER_CLASS][1][0]
        raise ValueError(f'--classes: no object is of {", ".join(classes)}; {first}')


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise FileNotFoundError(f'{path} is no folder; this format has a folder of annotations')
    return path


def _file(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f'{path} is no file; this format has one file of annotations')
    return path


def _needed(images: str | None) -> str:
    if images is None:
        raise ValueError('this format needs --images, the folder of the images')
    return images
