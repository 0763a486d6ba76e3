"""Settings of the whole process that are changed for a while, in two threads at once."""

import logging
from collections import OrderedDict
from functools import partial
from threading import Event, Thread

import pytest
from mmengine.registry import DefaultScope
from mmengine.registry import registry as lookup
from PIL import Image
from torch.serialization import get_safe_globals

from lomar.checkpoints import files, hub
from lomar.checkpoints.inferencers import registered_types_only
from lomar.datasets import rgb_parts


def scope():
    found = DefaultScope.get_current_instance()
    return found and found.scope_name


# What changes a setting, and what returns the setting.
CHANGES = {
    'types': (registered_types_only, lambda: (lookup.import_module, lookup.get_object_from_string)),
    'scope': (partial(registered_types_only, 'mmdet'), scope),
    'pixels': (partial(rgb_parts._pixel_limit, 7), lambda: Image.MAX_IMAGE_PIXELS),
    'warnings': (hub._quiet, lambda: logging.getLogger('huggingface_hub').level),
    'objects': (files._allowed, lambda: OrderedDict in get_safe_globals()),
}


@pytest.mark.parametrize('name', CHANGES)
def test_two_threads(name):
    """Each thread keeps its setting to the end, although the first begins and ends first."""
    change, setting = CHANGES[name]
    before, kept = setting(), []

    def use(entered, end):
        with change():
            inside = setting()
            entered.set()
            end.wait(10)
            kept.append(setting() == inside != before)

    events = [(Event(), Event()) for _ in range(2)]
    threads = [Thread(target=use, args=each) for each in events]
    for thread, (entered, _) in zip(threads, events, strict=True):
        thread.start()
        entered.wait(0.3)
    for thread, (_, end) in zip(threads, events, strict=True):
        end.set()
        thread.join()
    assert kept == [True, True] and setting() == before


@pytest.mark.parametrize('name', CHANGES)
def test_one_thread_twice(name):
    change, setting = CHANGES[name]
    before = setting()
    with change(), change():
        assert setting() != before
    assert setting() == before
