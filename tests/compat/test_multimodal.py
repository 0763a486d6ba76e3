"""Registration next to transformers, which breaks the import of mmpretrain's multimodal models."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

USE = """
import lomar.register
from mmpretrain.registry import MODELS
print(MODELS.build(dict(type='LinearClsHead', num_classes=3, in_channels=4)).num_classes)
"""


@pytest.mark.slow
def test_classes_are_registered_where_transformers_is_installed(tmp_path):
    # A release without any of the names that mmpretrain imports.
    package, metadata = tmp_path / 'transformers', tmp_path / 'transformers-5.17.0.dist-info'
    package.mkdir()
    (package / '__init__.py').touch()
    metadata.mkdir()
    (metadata / 'METADATA').write_text('Name: transformers\nVersion: 5.17.0\n')
    paths = os.pathsep.join(filter(None, (str(tmp_path), str(ROOT), os.getenv('PYTHONPATH'))))
    done = subprocess.run(
        [sys.executable, '-c', USE],
        env={**os.environ, 'PYTHONPATH': paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, '3\n'), done.stderr
