"""Lock of a work dir: two trainings in one would replace each other's files."""

import errno
import fcntl
import os
import socket
from pathlib import Path

from mmengine.logging import print_log

FILE = '.lock'
TAKEN = errno.EACCES, errno.EAGAIN


class WorkDirLock:
    """Lock of a training on its work dir, until `release` or the end of the process.

    It is a POSIX record lock, which also works over NFS: the kernel releases it however the process
    ends, and forked data workers do not hold it. The file stays.

    Raises:
        ValueError: another training has the lock.
    """

    def __init__(self, work_dir: str | Path):
        self.file = Path(work_dir, FILE).open('a+')  # noqa: SIM115  (until `release`)
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.file.seek(0)
            owner = self.file.read()
            self.release()
            if error.errno in TAKEN:
                raise ValueError(
                    f'work_dir is {work_dir}, in which another training is running ({owner}); '
                    'allowed: another --work-dir, or wait until it has ended'
                ) from None
            print_log(f'{work_dir} cannot be locked against other trainings: {error}', 'current')
            return
        self.file.truncate(0)
        self.file.write(f'process {os.getpid()} on {socket.gethostname()}')
        self.file.flush()

    def release(self) -> None:
        """Give the lock back."""
        self.file.close()
