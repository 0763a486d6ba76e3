"""LoMaR (Local Masked Reconstruction, arXiv 2206.00790) for OpenMMLab.

Importing this package imports neither torch nor MMEngine. `import lomar.register` registers the
package's classes with MMEngine. Where MMEngine is already imported, as in a config with
`custom_imports=['lomar']`, this package does the same.
"""

import sys

import lazy_loader

from lomar import compat

__version__ = '0.2.0'
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# `lomar.Encoder` needs MMEngine only, and so must work where the rest of OpenMMLab is missing.
if 'mmengine' in sys.modules and not compat.missing():
    from lomar import register  # noqa: F401
