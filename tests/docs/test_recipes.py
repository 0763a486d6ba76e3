"""The table of settings beside the official ones: complete, computed, and up to date."""

import runpy
from dataclasses import replace

import pytest
from conftest import ROOT

from tests.recipes import RECIPES, RecipeError, compare
from tests.recipes.pretraining import LOMAR
from tests.recipes.table import show

CONFIGS = ROOT / 'mmconfigs'


@pytest.fixture
def recipe():
    """A part of LoMaR's table that is read quickly."""
    names = (
        'learning rate for 256 images',
        'betas',
        'learning rate of the first step / peak',
    )
    return replace(LOMAR, settings=[one for one in LOMAR.settings if one.name in names])


def test_the_page_is_what_the_command_writes(monkeypatch, tmp_path):
    """Every setting is compared; a difference without a reason stops the command."""
    out = tmp_path / 'recipes.md'
    monkeypatch.setattr('sys.argv', ['tests.recipes', '--out', str(out)])
    runpy.run_module('tests.recipes', run_name='__main__')
    assert out.read_text() == (ROOT / 'docs/recipes.md').read_text(), (
        'run python -m tests.recipes --out docs/recipes.md'
    )


def test_every_task_and_size_is_in_the_table():
    titles = {recipe.title: set(recipe.configs) for recipe in RECIPES}
    assert titles['Fine-tuning'] == titles['Detection'] == {'B', 'L', 'H'}
    assert {'Pretraining with LoMaR', 'Pretraining with MAE', 'Linear probing'} < titles.keys()
    for recipe in RECIPES:
        names = [setting.name for setting in recipe.settings]
        assert len(names) == len(set(names)) > 20, recipe.title
        assert all(setting.source for setting in recipe.settings)


def test_a_changed_config_changes_the_table(recipe, tmp_path):
    (tmp_path / 'changed.py').write_text(
        f"_base_ = '{CONFIGS / 'lomar_pretrain.py'}'\n"
        'optim_wrapper = dict(optimizer=dict(lr=1.2e-3))\n'
    )
    rows = {row.setting.name: row for row in compare(recipe, CONFIGS)}
    rate = rows['learning rate for 256 images']
    assert rate.equal and show(rate.setting, rate.ours) == '0.00015'
    assert not rows['learning rate of the first step / peak'].equal
    changed = replace(recipe, configs={'B': 'changed.py'})
    with pytest.raises(RecipeError) as raised:
        compare(changed, tmp_path)
    assert str(raised.value).splitlines()[1:] == [
        '  Pretraining with LoMaR, learning rate for 256 images: different, but has no reason '
        '(7.5e-05 here, 0.00015 in README.md)'
    ]


def test_a_reason_needs_a_difference(recipe):
    old = [replace(one, reason='once') for one in recipe.settings]
    with pytest.raises(RecipeError) as raised:
        compare(replace(recipe, settings=old), CONFIGS)
    lines = str(raised.value).splitlines()[1:]
    assert len(lines) == 2 and all('equal, but has a reason' in line for line in lines)
