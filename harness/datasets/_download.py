"""Download one of torchvision's data sets: `python -m harness.datasets._download NAME FOLDER`.

Leaves the raw files, checked against torchvision's checksums; the last line it prints is the reason when it fails.
"""

from __future__ import annotations

import socket
import sys


def main(name: str, folder: str) -> int:
    """Download into a folder; 0, or 1 with the reason printed."""
    from torchvision import datasets

    socket.setdefaulttimeout(10)
    try:
        getattr(datasets, name)(folder, download=True)
    except (OSError, RuntimeError) as error:
        print(" ".join(str(error).split()))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
