"""xaicli: train, attack, explain, evaluate and visualise image classifiers from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xaicli.files.store import open_store as open_store
    from xaicli.models.load import load_checkpoint as load_checkpoint

__version__ = "0.1.0"
__all__ = ["__version__", "load_checkpoint", "open_store"]

_LAZY = {"load_checkpoint": "xaicli.models.load", "open_store": "xaicli.files.store"}


def __getattr__(name: str) -> Any:
    """Import torch or h5py only when a notebook asks for one of the two public functions."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'xaicli' has no attribute '{name}'")
