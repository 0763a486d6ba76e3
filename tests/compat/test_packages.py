"""Configs of installed packages, with and without pkg_resources."""

import sys

import pytest
from conftest import ROOT
from mmengine import utils
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope

DETECTOR = 'shapes/mask-rcnn_vitdet-tiny-lomar_shapes.py'


@pytest.fixture(autouse=True)
def without_setuptools(monkeypatch):
    for name in ('setuptools', 'pkg_resources'):
        monkeypatch.setitem(sys.modules, name, None)  # imports fail


@pytest.fixture
def inherit(tmp_path):
    def inherit(base):
        config = tmp_path / 'config.py'
        config.write_text(f"_base_ = '{base}'\nrandomness = dict(seed=7)\n")
        return Config.fromfile(config)

    return inherit


def test_configs_of_this_package_are_inherited(inherit):
    expected = Config.fromfile(ROOT / 'mmconfigs' / DETECTOR).to_dict()
    expected['randomness']['seed'] = 7
    found = inherit(f'lomar::{DETECTOR}')
    assert found.to_dict() == expected
    assert get_config(f'lomar::{DETECTOR}').model == found.model
    init_default_scope(found.default_scope)
    assert type(MODELS.build(found.model)).__name__ == 'MaskRCNN'


def test_configs_of_mmdet_are_inherited(inherit):
    cfg = inherit('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    assert cfg.model.type == 'FasterRCNN' and cfg.model._scope_ == 'mmdet'


def test_packages_are_found_by_either_name():
    folder = str(ROOT / 'lomar')
    assert utils.get_installed_path('lomar') == folder
    assert utils.is_installed('mmdet') and utils.is_installed('lazy_loader')
    assert utils.is_installed('scikit-image')  # a distribution, whose module is skimage
    assert not utils.is_installed('mmsegmentation-of-nobody')
    with pytest.raises(ModuleNotFoundError, match='mmsegmentation-of-nobody'):
        utils.get_installed_path('mmsegmentation-of-nobody')
