"""Comparison of every setting of the shipped recipes with the official code."""

from tests.recipes.classification import FINE_TUNING, LINEAR_PROBING
from tests.recipes.detection import DETECTION
from tests.recipes.pretraining import LOMAR, MAE
from tests.recipes.table import Recipe, RecipeError, Setting, compare, to_markdown

RECIPES = (LOMAR, MAE, FINE_TUNING, LINEAR_PROBING, DETECTION)

__all__ = ['RECIPES', 'Recipe', 'RecipeError', 'Setting', 'compare', 'to_markdown']
