"""Write a page that compares every setting of the configs with the official code."""

import argparse
import sys
from pathlib import Path

import lomar.register  # noqa: F401
from tests.recipes import RECIPES, RecipeError, compare, to_markdown

PROG = 'python -m tests.recipes'
ROOT = Path(__file__).resolve().parents[2]
HEAD = """# Recipes

This page compares every setting with the official code. The command
`python -m tests.recipes --out docs/recipes.md` generates the page. Most values are read from the
resolved configs. Initial weights, resizing and precision are measured on the built models and
transforms. The official values and their source files are in `tests/recipes/`. If a
difference has no reason, the command and `make test` fail.

Values that depend on the model size are listed for ViT-B, L and H. Fine-tuning, probing and
detection configs for LoMaR and for random weights differ from the listed MAE configs in the weights
and the position encoding. LoMaR's linear probing uses the mean of the patch tokens instead
of the cls token.
"""


def main() -> None:
    """Print or write the page."""
    parser = argparse.ArgumentParser(prog=PROG, description=__doc__)
    parser.add_argument(
        '--out', type=Path, metavar='FILE', help='file to write (default: print the page)'
    )
    args = parser.parse_args()
    try:
        compared = [(recipe, compare(recipe, ROOT / 'mmconfigs')) for recipe in RECIPES]
    except RecipeError as error:
        sys.exit(f'{PROG}: {error}')
    page = f'{HEAD}\n{to_markdown(compared)}\n'
    if args.out:
        args.out.write_text(page, encoding='utf-8')
    else:
        print(page, end='')


if __name__ == '__main__':
    main()
