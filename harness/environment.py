"""Where a record was made: versions, commit and machine."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from typing import Any

from harness import registry


@lru_cache(maxsize=1)
def environment() -> dict[str, Any]:
    """Versions, commit and machine, for the record."""
    import torch

    from harness.digests import version

    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "mlflow": version("mlflow"),
        "foolbox": version("foolbox"),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
    }


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=registry.root(), capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
