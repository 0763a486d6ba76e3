"""Comparison of every setting of the shipped recipes with the official code."""

from lomar.recipes.classification import FINE_TUNING, LINEAR_PROBING
from lomar.recipes.detection import DETECTION
from lomar.recipes.pretraining import LOMAR, MAE
from lomar.recipes.table import Recipe, RecipeError, Setting, compare, to_markdown

RECIPES = (LOMAR, MAE, FINE_TUNING, LINEAR_PROBING, DETECTION)

__all__ = ['RECIPES', 'Recipe', 'RecipeError', 'Setting', 'compare', 'to_markdown']
