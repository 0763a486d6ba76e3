"""Images per second from JPEG and TIFF files to a training batch."""

import lomar.register  # noqa: F401
