"""Where encoders compute: the one place that decides.

An encoder lives on the device; heads, contexts, vectors and all arithmetic of privacy live on the
processor. What an encoder is given comes from there, and what it returns goes back there, so that
nothing else has to know. The processor in float32 is the reference.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from alignment.config import DEVICES

#: Names a device for this process and those that it starts.
VARIABLE: Final = "FEDACCORD_DEVICE"

DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}

CPU: Final = torch.device("cpu")


def widened(values: torch.Tensor) -> torch.Tensor:
    """Half precision as float32; anything wider as it is."""
    return values.to(torch.float32) if values.dtype.itemsize < 4 else values


class DeviceError(ValueError):
    """The device asked for is not there."""


@contextmanager
def computing_on(name: str) -> Iterator[torch.device]:
    """Let encoders that are built meanwhile, here and in processes begun here, be on a device.

    Raises:
        DeviceError: There is no such device.
    """
    device, before = device_named(name), os.environ.get(VARIABLE)
    os.environ[VARIABLE] = name
    try:
        yield device
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def compute_device() -> torch.device:
    """The device that encoders are built on: the processor unless ``FEDACCORD_DEVICE`` says more.

    Raises:
        DeviceError: It names a device that is not there.
    """
    return device_named(os.environ.get(VARIABLE, "cpu") or "cpu")


def device_named(name: str) -> torch.device:
    """The device of a name, or of ``auto`` the best one that is there.

    Raises:
        DeviceError: There is no such device.
    """
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name not in DEVICES:
        raise DeviceError(f"device = {name!r} is none of {', '.join(DEVICES)}: choose one")
    if name == "auto":
        return torch.device(next(each for each in ("cuda", "mps", "cpu") if there[each]))
    if not there[name]:
        raise DeviceError(f"device = {name!r} but this machine has none: use 'auto' or 'cpu'")
    return torch.device(name)
