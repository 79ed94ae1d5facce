"""What the operating system says, in the words of sinks."""

import errno
import os
from typing import NoReturn

from structllm.errors import SinkUnavailable

_REASONS = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EFBIG: "disk_full",
    errno.EACCES: "no_permission",
    errno.EPERM: "no_permission",
    errno.EROFS: "no_permission",
    errno.EMFILE: "no_descriptor",
    errno.ENFILE: "no_descriptor",
    errno.EIO: "io_error",
}


def raise_as_sink_error(error: OSError, taken: int) -> NoReturn:
    """Raise SinkUnavailable with the reason for the accounts; `taken` records of the batch were written before."""
    reason = _REASONS.get(error.errno or 0, "os_error")
    raise SinkUnavailable(reason, os.strerror(error.errno or errno.EIO), taken=taken) from None
