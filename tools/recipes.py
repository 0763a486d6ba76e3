#!/usr/bin/env python
"""Write every setting beside the official one, from the configs: tools/recipes.py [--out FILE]."""

import argparse
import sys
from pathlib import Path

import lomar  # noqa: F401  (registers)
from lomar.recipes import RECIPES, RecipeError, compare, to_markdown

ROOT = Path(__file__).resolve().parents[1]
HEAD = """# Recipes

Every setting beside that of the official code. `python tools/recipes.py` writes this page from the
configs with everything they inherit, and measures on the built models what no config states
(initial weights, resizing, precision). The official values are in `lomar/recipes/`, with the file
that each is from. A difference without a reason is an error, also in `make test`.

A value per model size is given as B, L, H. The configs of LoMaR and from random weights differ from
those of MAE in the weights and in the position encoding; LoMaR's linear probing takes the mean of
the patch tokens instead of the cls token.
"""


def main() -> None:
    """Print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, metavar='FILE', help='file to write (default: print)')
    args = parser.parse_args()
    import lomar.classification
    import lomar.detection  # noqa: F401  (registers)

    try:
        compared = [(recipe, compare(recipe, ROOT / 'mmconfigs')) for recipe in RECIPES]
    except RecipeError as error:
        sys.exit(f'tools/recipes.py: {error}')
    page = f'{HEAD}\n{to_markdown(compared)}\n'
    if args.out:
        args.out.write_text(page, encoding='utf-8')
    else:
        print(page, end='')


if __name__ == '__main__':
    main()
