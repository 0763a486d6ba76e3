"""Images per second from JPEG and TIFF files to a training batch."""

import lomar  # noqa: F401  (registers)
