"""What another person needs to get the same numbers: versions, the machine, and the model by its contents."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

import torch

import bertattn

if TYPE_CHECKING:
    from bertattn.extract import Extractor

LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "scipy", "matplotlib")


def of_model(ext: Extractor) -> dict[str, Any]:
    """The model by its class and size, with a SHA-256 of its weights as loaded and one of its tokenizer."""
    return {
        "architecture": type(ext.model).__name__,
        "parameters": sum(p.numel() for p in ext.model.parameters()),
        "dtype": str(ext.model.dtype).removeprefix("torch."),
        "weights_sha256": weights_sha256(ext.model),
        "tokenizer_sha256": tokenizer_sha256(ext.tokenizer),
    }


def weights_sha256(model: torch.nn.Module) -> str:
    """Over name, type, shape and bytes of every tensor of the state dict, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def tokenizer_sha256(tokenizer: Any) -> str:
    """Over the whole tokenizer where it is a fast one, else over its vocabulary."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        pipeline = json.loads(backend.to_str())
        pipeline["truncation"] = pipeline["padding"] = None  # set anew by each call
        text = json.dumps(pipeline, sort_keys=True)
    else:
        text = json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def versions() -> dict[str, str]:
    return {"bertattn": bertattn.__version__, "python": platform.python_version()} | {
        name: metadata.version(name) for name in LIBRARIES
    }


def machine(ext: Extractor) -> dict[str, Any]:
    device = ext.model.device
    card = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    return card | {
        "system": platform.system(),
        "processor": platform.machine(),
        "device": str(device),
        "threads": torch.get_num_threads(),
    }
