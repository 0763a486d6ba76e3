"""Packaging. Ranges are declared here; the tested set is pinned in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name='lomar-openmmlab',
    version='0.1.0',
    description='LoMaR (Local Masked Reconstruction) for OpenMMLab',
    long_description=Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10,<3.14',
    packages=find_packages(include=['lomar', 'lomar.*']),
    package_data={'': ['*.pyi']},  # read at run time: the names that packages load lazily
    install_requires=[
        'torch>=2.6',  # first release that loads weights only by default
        'torchvision>=0.21',
        'timm>=1.0.15,<2',
        'lazy_loader>=0.6',  # first release that tells names from modules of the same name
        'numpy',
        'pillow>=10',
        'pycocotools>=2.0.8',
        'safetensors',
        'matplotlib',
        'tqdm',
    ],
    extras_require={
        # Both install the same import names: take one, or compile mmcv and take neither.
        'openmmlab': [
            'mmengine>=0.10.7,<0.11',
            'mmcv-lite>=2.1,<2.2',  # mmdet 3.3 refuses 2.2
            'mmdet>=3.3,<3.4',
            'mmpretrain>=1.2,<1.3',
            'setuptools<81',  # mmengine and mmcv import pkg_resources
        ],
        'onedl': [
            'onedl-mmengine>=0.10.12,<0.11',
            'onedl-mmcv>=2.3.6,<2.4',
            'onedl-mmdetection>=3.5.1,<3.6',
            'onedl-mmpretrain>=1.3.6,<1.4',
        ],
        'demo': ['scikit-learn'],  # its two sample photographs
        'tensorboard': ['tensorboard'],
        # The same AP, several times as fast; the same pixels of JPEG files, a little faster.
        'faster': ['faster-coco-eval', 'simplejpeg'],
        'rasters': ['rasterio'],  # TIFF files of many channels, and parts of large ones
        'test': [
            'codespell',
            'hypothesis',
            'pre-commit',
            'pytest',
            'pytest-xdist',
            'rasterio',
            'ruff',
            'scikit-image',  # its HOG, to compare with
            'scikit-learn',
            'simplejpeg',
            'tensorboard',
        ],
    },
)
