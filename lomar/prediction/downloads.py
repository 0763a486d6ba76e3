"""Download of images and videos from http(s) addresses, with limits on size and time."""

from http.client import HTTPException
from pathlib import Path
from time import monotonic
from urllib.error import URLError
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

import lomar
from lomar.datasets.unreadable import UnreadableImage

LARGEST = 512 * 2**20  # bytes of a file
LONGEST = 120  # seconds of a download
SILENT = 30  # seconds without data
BLOCK = 2**16


class _Redirects(HTTPRedirectHandler):
    """Redirects to http and https only; Python's class also allows ftp."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        """Return the request of the new address; raise an error for another scheme."""
        if urlsplit(newurl).scheme.lower() not in ('http', 'https'):
            raise URLError(f'a redirect to {newurl[:200]}; allowed: http and https')
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(address: str, path: Path) -> None:
    """Write the file of an http(s) address to `path`.

    Raises:
        UnreadableImage: the download failed, or took more than `LARGEST` bytes or `LONGEST`
            seconds.
    """
    opener = OpenerDirector()  # `build_opener` would add file: and ftp:
    for handler in (
        *(ProxyHandler, HTTPHandler, HTTPSHandler),
        *(HTTPDefaultErrorHandler, HTTPErrorProcessor, _Redirects),
    ):
        opener.add_handler(handler())
    start = monotonic()
    try:
        headers = {'User-Agent': f'lomar/{lomar.__version__}'}
        request = Request(_ascii(address), headers=headers)
        with opener.open(request, timeout=SILENT) as answer, open(path, 'wb') as file:
            received, declared = 0, answer.headers.get('Content-Length')
            while block := answer.read1(BLOCK):
                received += len(block)
                if received > LARGEST:
                    raise URLError(f'more than {LARGEST} bytes')
                if monotonic() - start > LONGEST:
                    raise URLError(f'more than {LONGEST} seconds')
                file.write(block)
            if declared is not None and received != int(declared):
                raise URLError(f'{received} of {declared} bytes')
    except (HTTPException, OSError, ValueError) as error:
        reason = getattr(error, 'reason', None) or error
        code = f'HTTP {error.code}: ' if hasattr(error, 'code') else ''
        raise UnreadableImage(address, f'download failed: {code}{reason}') from error


def _ascii(address: str) -> str:
    """Return an address with letters outside of ASCII, and spaces, quoted."""
    parts = urlsplit(address)
    host = parts.netloc.encode('idna').decode() if not parts.netloc.isascii() else parts.netloc
    path, query = (
        quote(parts.path, safe="/%:@!$&'()*+,;=~-._"),
        quote(parts.query, safe='=&%/?:+,;@'),
    )
    return urlunsplit((parts.scheme, host, path, query, ''))
