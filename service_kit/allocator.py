"""Memory for tensors that come and go, in a process that trains.

glibc maps each large block anew and unmaps it when it is freed, so a step's temporaries are paid for in page faults.
Invariant: after `keep_freed_memory` this process gives freed memory to its next tensors and not back to the system: it
stays as large as it was at its peak, and computes the same.
"""

import ctypes

# <malloc.h>
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_GROWS_BY = 2**28


def keep_freed_memory() -> bool:
    """Whether the C library could be told; one that is not glibc is left as it is."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, _GROWS_BY))
    return all([mallopt(parameter, value) == 1 for parameter, value in wanted])
