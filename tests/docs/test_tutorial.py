"""The commands of the tutorial run, and its table is that of the committed result."""

import json
import re
import subprocess
import sys

import pytest
from annotation_sources import voc_object, voc_xml, write_image, write_text
from PIL import Image

from benchmarks.sections import read_section
from benchmarks.tutorial.__main__ import PAGE, RESULT, commands, table, timed

LOMAR, DETECTOR = 'lomar train tiny/lomar_', 'lomar train tiny/faster-rcnn_'
PRETRAINED = 'work_dirs/lomar_vit-tiny-p8_1xb64-coslr-100e_in1k-192px/epoch_1.pth'
# Two steps of each training; the numbers mean nothing.
SHORT = {
    LOMAR: '--epochs 1 --cfg-options train_dataloader.batch_size=4',
    DETECTOR: '--cfg-options train_dataloader.batch_size=2 train_cfg.max_iters=2 '
    f'default_hooks.checkpoint.interval=2 load_from={PRETRAINED}',
}


def test_the_table_is_that_of_the_result():
    assert read_section(PAGE, 'times') == table(json.loads(RESULT.read_text())).strip()


def test_the_result_has_the_commands_of_the_page():
    found = [one['command'] for one in json.loads(RESULT.read_text())['commands']]
    assert found == commands(PAGE.read_text(encoding='utf-8'))


def write_photographs(folder):
    """Write ten photographs with VOC boxes, in the layout of the example data."""
    for number in (*range(8), 404, 410):
        name = f'BloodImage_{number:05}'
        write_image(folder / f'JPEGImages/{name}.jpg', (96, 80))
        cells = [voc_object(each, (5, 8, 50, 60)) for each in ('RBC', 'WBC')]
        text = voc_xml(''.join(cells), f'{name}.jpg', (96, 80))
        write_text(folder / f'Annotations/{name}.xml', text)


def shortened(line):
    """The command with two steps of training, and the checkpoint that they write."""
    more = [flags for start, flags in SHORT.items() if line.startswith(start)]
    return ' '.join([line.replace('iter_400', 'iter_2'), *more])


@pytest.mark.slow
def test_the_commands_run(tmp_path):
    write_photographs(tmp_path / 'blood')
    lines = commands(PAGE.read_text(encoding='utf-8'))
    timed([shortened(line) for line in lines], tmp_path, sys.executable)
    (metrics,) = tmp_path.glob('work_dirs/*/metrics.json')
    assert 'AP50' in json.loads(metrics.read_text())['metrics']['bbox']
    assert len(list((tmp_path / 'predictions/pictures').glob('*.jpg'))) == 2  # of the unseen ones
    assert (tmp_path / 'features.onnx').exists() and (tmp_path / 'again/images.json').exists()
    (example,) = re.findall(r'```python\n(.*?)```', PAGE.read_text(encoding='utf-8'), re.DOTALL)
    script = example.replace('iter_400', 'iter_2')
    subprocess.run([sys.executable, '-c', script], cwd=tmp_path, check=True)
    assert Image.open(tmp_path / 'found.png').size == (96, 80)
