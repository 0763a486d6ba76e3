"""The detector's benchmark: its clock, and every part of every table measured at toy size."""

import json
import time

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config

from benchmarks.detector.parts import benchmark_detector
from benchmarks.detector.report import to_markdown
from benchmarks.detector.scenes import HEIGHT, WIDTH, make_scenes, moved
from benchmarks.speed.timing import Stopwatch

CONFIG = ROOT / 'mmconfigs/shapes/mask-rcnn_vitdet-tiny-scratch_shapes.py'


def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_the_stopwatch_counts_every_second_once():
    stopwatch = Stopwatch()
    inner = stopwatch.timed(spin, 'inner')

    def work():
        spin(0.02)
        inner(0.05)
        inner(0.05)

    stopwatch.timed(work, 'outer')()
    seconds = stopwatch.read()
    # The clock of the thread: other work on the machine adds nothing, only Python's own steps do.
    assert seconds == pytest.approx(dict(inner=0.1, outer=0.02), abs=0.005)
    assert stopwatch.read() == {}


def test_scenes_are_inside_their_images_and_boxes_near(tmp_path):
    coco = json.loads(make_scenes(tmp_path, 4, classes=5).read_text())
    boxes = torch.tensor([one['bbox'] for one in coco['annotations']])
    assert (boxes > 0).all() and (boxes[:, :2] + boxes[:, 2:] <= boxes.new([WIDTH, HEIGHT])).all()
    assert 4 * 10 <= len(boxes) <= 4 * 40
    still = moved(boxes, 7, 0.0, torch.Generator().manual_seed(0))
    assert torch.equal(still[:, 2:], boxes[:7, 2:])


def test_every_part_is_measured():
    result = benchmark_detector(Config.fromfile(CONFIG), images=2, repeats=1, steps=1, evaluated=1)
    json.dumps(result)
    for table, parts in (('pipeline', 9), ('step', 21), ('evaluation', 5)):
        assert len(result[table]) == parts
        for name, spreads in result[table].items():
            assert list(spreads) == ['mmdet', 'lomar'], name
            assert all(spread['median'] > 0 for spread in spreads.values()), name
        total = sum(spreads['lomar']['median'] for spreads in result[table].values())
        assert total == pytest.approx(2 * result[table]['sum']['lomar']['median'], abs=0.5)
    assert to_markdown(result).count('\n|') == 9 + 21 + 5 + 2 * 3 - 1
