"""Writers of small sources of annotations, as tools write them, for the tests of the import."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = WIDTH, HEIGHT = 40, 30


def write_image(path, size=SIZE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, 'grey').save(path, **options)
    return path


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def voc_object(name='cell', corners=(2, 3, 11, 12), extra=''):
    keys = ('xmin', 'ymin', 'xmax', 'ymax')
    values = ''.join(f'<{key}>{v}</{key}>' for key, v in zip(keys, corners, strict=True))
    return f'<object>\n<name>{name}</name>{extra}<bndbox>{values}</bndbox>\n</object>\n'


def voc_xml(objects='', filename='a.jpg', size=SIZE):
    sides = f'<size><width>{size[0]}</width><height>{size[1]}</height></size>\n' if size else ''
    name = f'<filename>{filename}</filename>\n'
    return f'<annotation>\n{name}{sides}{objects}</annotation>\n'


def voc(folder, objects=None, filename='a.jpg', size=SIZE):
    """Write a VOC folder with one image, a.jpg, and one XML file."""
    write_image(folder / 'JPEGImages/a.jpg')
    text = voc_xml(voc_object() if objects is None else objects, filename, size)
    write_text(folder / 'Annotations/a.xml', text)
    return folder


def yolo(folder, lines='0 0.5 0.5 0.5 0.5\n', names='[cell]', head='train: images/train\n'):
    """Write a YOLO dataset with one image, a.jpg."""
    write_image(folder / 'images/train/a.jpg')
    write_text(folder / 'labels/train/a.txt', lines)
    return write_text(folder / 'data.yaml', f'{head}names: {names}\n')


def kitti(folder, lines='Car 0.0 0 -10 2 3 12 13 1 1 1 1 1 1 0\n'):
    write_image(folder / 'image_2/a.png')
    write_text(folder / 'label_2/a.txt', lines)
    return folder / 'label_2'


def cvat(folder, shapes='<box label="cell" xtl="2" ytl="3" xbr="12" ybr="13"/>', name='a.jpg'):
    write_image(folder / 'images/a.jpg')
    labels = ''.join(f'<label><name>{label}</name></label>' for label in ('tissue', 'cell'))
    return write_text(
        folder / 'annotations.xml',
        f'<annotations><meta><task><labels>{labels}</labels></task></meta>\n'
        f'<image id="0" name="{name}" width="{WIDTH}" height="{HEIGHT}">\n{shapes}\n</image>\n'
        '</annotations>\n',
    )


def labelme(folder, shapes, name='a.jpg'):
    write_image(folder / 'a.jpg')
    content = dict(shapes=shapes, imagePath=name, imageWidth=WIDTH, imageHeight=HEIGHT)
    write_text(folder / 'a.json', json.dumps(content))
    return folder


def mask(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path)
    return path


def labelbox_row(name='a.jpg', objects=({},), **changes):
    """Return a line of a Labelbox export with boxes at (2, 3), 10 pixels wide and high."""
    box = dict(left=2, top=3, width=10, height=10)
    base = dict(name='cell', annotation_kind='ImageBoundingBox', bounding_box=box)
    found = [{**base, **one} for one in objects]
    return json.dumps(
        dict(
            data_row=dict(id='1', global_key=name, external_id=name),
            media_attributes=dict(width=WIDTH, height=HEIGHT),
            projects=dict(p=dict(labels=[dict(annotations=dict(objects=found))])),
            **changes,
        )
    )


def labelbox(folder, text=None):
    write_image(folder / 'images/a.jpg')
    return write_text(folder / 'export.ndjson', f'{text or labelbox_row()}\n')


def lightly(folder, predictions=None):
    write_image(folder / 'images/a.jpg')
    categories = [dict(id=0, name='tissue'), dict(id=4, name='cell')]
    schema = dict(task_type='object-detection', categories=categories)
    write_text(folder / 'labels/schema.json', json.dumps(schema))
    found = [dict(category_id=4, bbox=[2, 3, 10, 10], score=0)]
    content = dict(file_name='a.jpg', predictions=predictions or found)
    write_text(folder / 'labels/a.json', json.dumps(content))
    return folder / 'labels'


def files_in(folder: Path):
    """Return the files below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*'))
