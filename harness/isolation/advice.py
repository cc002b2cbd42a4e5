"""What an author can do about an error of his code that comes from where it runs rather than from what it does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_BESIDE = "a file of the submission's own lies beside its class, in a folder with submission.yaml"


def advice(error: BaseException) -> str:
    """What was expected and what to do, to be put behind the message; empty where the message says it all."""
    text = str(error)
    if isinstance(error, ModuleNotFoundError):
        return f"; packages are listed under `requirements` in submission.yaml; {_BESIDE}"
    if isinstance(error, FileNotFoundError):
        return f"; {_BESIDE}, and is opened by Path(__file__).parent / 'name'"
    if isinstance(error, TypeError) and re.search(r"\b(fit|load)\(\) got an unexpected keyword argument", text):
        return "; expected fit(self, data, *, victim) and load(self, state, *, victim)"
    if isinstance(error, TypeError) and "__init__() " in text:
        return "; parameters are fields of a frozen dataclass, each with a default"
    if isinstance(error, SystemExit):
        return "; the file is imported, it must not exit or read a command line"
    if "asks the network" in text:
        return f"; {_BESIDE}"
    if isinstance(error, PermissionError) and "a submission" not in text:
        return "; it reads its own folder, writes to tempfile.gettempdir(), and starts no processes (num_workers=0)"
    if isinstance(error, TypeError) and "positional argument" in text:
        return "; what load gives is called with (x), and with (x, draws) where the class says `random: ClassVar[bool] = True`"
    if isinstance(error, RuntimeError) and "in-place operation" in text:
        return "; inputs are not written to, work on a copy: x.clone()"
    if isinstance(error, ValueError) and "mutable default" in text:
        return "; write a tuple, such as sizes: tuple[int, ...] = (1, 2)"
    if isinstance(error, RuntimeError | AssertionError) and re.search(r"NVIDIA|CUDA", text):
        return "; tensors are made on the device of the input, x.device, or of the state, which has been moved there"
    return ""


def state_of(value: Any) -> str:
    """What fit gave instead of a dict of tensors, and what it should."""
    if not isinstance(value, Mapping):
        return f"fit gives {type(value).__name__}; expected a dict of tensors: return network.state_dict(), or {{}}"
    wrong = [(key, item) for key, item in value.items() if not isinstance(item, Tensor) or not isinstance(key, str)]
    named = ", ".join(f"{str(key)[:40]!r}: {type(item).__name__}" for key, item in wrong[:3])
    return f"fit gives {{{named}}}; expected text with tensors: network.state_dict(), torch.tensor(value)"
