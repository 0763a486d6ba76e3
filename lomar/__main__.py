"""`python -m lomar`, the same as the `lomar` command."""

import sys

from lomar.cli import main

if __name__ == '__main__':
    sys.exit(main())
