"""Disparity from a depth model of Hugging Face's `transformers` (the extra `hf`), so that no video is needed."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError

from fathomseg.data.datasets.base import Dataset
from fathomseg.depth_sources.base import DepthSource, NetworkReader, inverse
from fathomseg.errors import FathomError
from fathomseg.inference.device import pick_device
from fathomseg.io.files import digest, read_tree
from fathomseg.models.compat import ensure_timm_imports
from fathomseg.text import at_home

_FILES: Final = ("*.json", "model*.safetensors")
"""All that is taken of a model: settings and weights, no code and no pickles."""

_METRIC: Final = frozenset({"depth_pro", "glpn", "prompt_depth_anything", "zoedepth"})
"""Kinds of model whose result is depth."""


class HuggingFaceDepth(DepthSource):
    """A model for depth estimation from the Hugging Face hub or a folder: Depth Anything, DPT, ZoeDepth ...

    Weights must be safetensors; code that comes with a model is never run.
    """

    name: Literal["huggingface"] = "huggingface"
    model: str
    """A model's name on the hub, such as `depth-anything/Depth-Anything-V2-Small-hf`, or a folder that holds one."""
    revision: str | None = None
    """A commit, tag or branch on the hub; a commit pins what is used. Nothing = the newest."""
    gives: Literal["disparity", "depth"] = "disparity"
    """disparity: relative inverse depth (DPT, MiDaS, Depth Anything). depth: metric models. A model that says
    otherwise of itself is refused."""
    batch: Annotated[int, Field(gt=0)] = 4
    """Images that go through the network at once."""

    def open(self, dataset: Dataset, device: torch.device | str | None = None) -> HuggingFaceReader:
        """A reader that loads the network when it first needs it; the files are fetched at once if need be.

        Raises `FathomError` if `transformers` is missing, the hub cannot be reached, or there is no such model.
        """
        require_transformers("The depth source huggingface")
        return HuggingFaceReader(self, model_folder(self.model, self.revision), dataset, device)


class HuggingFaceReader(NetworkReader):
    """Shows images to a model of `transformers`."""

    def __init__(
        self, source: HuggingFaceDepth, folder: Path, dataset: Dataset, device: torch.device | str | None
    ) -> None:
        files = model_files(folder, source.model)
        super().__init__(dataset, f"huggingface|{digest(files)}|{source.gives}", source.batch)
        self.source, self.folder, self.device = source, folder, pick_device(device)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """Image processor and network; a reader that finds everything in the cache never loads them."""
        processor, network = load_pretrained(self.folder, self.source.model, "DepthEstimation", "depth estimation")
        self._refuse_contradiction(network.config)
        return processor, network.to(self.device).eval()

    def _refuse_contradiction(self, config: Any) -> None:
        """Disparity taken for depth would turn near and far around without any other sign."""
        gives = declared(config) or self.source.gives
        if gives != self.source.gives:
            raise FathomError(f"{self.source.model} gives {gives}, by its config.json. Set gives: {gives}.")

    def finish(self, loaded: Sequence[NDArray[Any]]) -> list[Float32[np.ndarray, "_ _"]]:
        """Disparity at the size of the images. Raises `FathomError` if the network gives nothing finite."""
        maps = self.given(loaded)
        return [inverse(one) for one in maps] if self.source.gives == "depth" else maps

    @torch.inference_mode()
    def given(self, loaded: Sequence[NDArray[Any]]) -> list[Float32[np.ndarray, "_ _"]]:
        """What the network gives, disparity or depth, at the size of the images. Raises as `finish`."""
        maps: list[Float32[np.ndarray, "_ _"]] = []
        for size, images in groupby(loaded, key=lambda image: image.shape[:2]):
            maps += self._infer(list(images), size)
        if not all(np.isfinite(one).any() for one in maps):
            raise FathomError(f"{self.source.model} gives no finite number for an image; its weights are damaged.")
        return maps

    def _infer(self, images: list[NDArray[Any]], size: tuple[int, int]) -> list[Float32[np.ndarray, "_ _"]]:
        """What the model says of images of one size, at that size: padding that the processor added is taken off."""
        processor, network = self._loaded
        inputs = processor(images=images, return_tensors="pt", input_data_format="channels_last").to(self.device)
        finish, sizes = processor.post_process_depth_estimation, [size] * len(images)
        padded = {"source_sizes": sizes} if "source_sizes" in inspect.signature(finish).parameters else {}
        results = finish(network(**inputs), target_sizes=sizes, **padded)
        return [result["predicted_depth"].float().cpu().numpy() for result in results]


def require_transformers(who: str) -> None:
    """Raise `FathomError` if the extra `hf` is not installed."""
    if importlib.util.find_spec("transformers") is None:
        raise FathomError(f'{who} needs the package transformers. Run `pip install "fathomseg[hf]"`.')


def model_files(folder: Path, name: str) -> list[Path]:
    """The files that say what the model in a folder is, weights included. Raises `FathomError` without safetensors."""
    files = sorted(path for pattern in _FILES for path in folder.glob(pattern))
    if not any(path.suffix == ".safetensors" for path in files) or not (folder / "config.json").is_file():
        raise FathomError(
            f"{name} has no weights as safetensors (config.json, model.safetensors in {folder}). Weights "
            "of other formats can carry code and are not loaded; take another model or revision, or convert it."
        )
    _refuse_other_shards(folder / "model.safetensors.index.json", name)
    return files


def _refuse_other_shards(index: Path, name: str) -> None:
    """Raise `FathomError` for a list of shards that names files of other formats, or outside the folder."""
    tree = read_tree(index) if index.is_file() else {}
    shards = tree.get("weight_map", {}) if isinstance(tree, dict) else None
    named = list(shards.values()) if isinstance(shards, dict) else [shards]
    if odd := [one for one in named if not isinstance(one, str) or not one.endswith(".safetensors") or "/" in one]:
        raise FathomError(
            f"{index} of {name} names {odd[0]!r} as weights; expected safetensors beside it. Take another revision, or "
            "convert it."
        )


def load_pretrained(folder: Path, name: str, kind: str, purpose: str) -> tuple[Any, Any]:
    """Image processor and network of transformers' `AutoModelFor<kind>`, from a folder alone, without foreign code.

    Raises `FathomError` if that does not work, or weights are missing.
    """
    ensure_timm_imports()  # transformers imports torchvision, as timm does
    import transformers

    try:
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        network, report = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(
            folder, use_safetensors=True, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise FathomError(f"{name} cannot be loaded as a model for {purpose}: {error}") from None
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise FathomError(
            f"The weights of {name} lack {len(missing)} tensors of its network, for example "
            f"{missing[0]}. Take another revision, or fetch it again."
        )
    return processor, network


def declared(config: Any) -> Literal["depth", "disparity"] | None:
    """What the config.json of a model for depth estimation says that it gives; None if it says nothing."""
    says = getattr(config, "depth_estimation_type", "metric" if config.model_type in _METRIC else None)
    known: dict[str, Literal["depth", "disparity"]] = {"metric": "depth", "relative": "disparity"}
    return known.get(str(says))


def model_folder(model: str, revision: str | None) -> Path:
    """The folder of a model: the one named, or that of a snapshot of the hub, fetched if it is not there yet.

    Raises `FathomError` if there is none and the hub cannot be reached or does not give it.
    """
    folder = at_home(model)
    if folder.is_dir():
        if revision is not None:
            raise FathomError(f"{model} is a folder, which has no revisions. Leave revision out.")
        return folder
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise FathomError(f"There is no folder {model}, and a model of the hub is named OWNER/NAME.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    named = model if revision is None else f"{model} at revision {revision}"
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(_FILES)))
    except RepositoryNotFoundError:
        raise FathomError(
            f"The Hugging Face hub has no model {model}, or it is not open to you. Check its name on huggingface.co."
        ) from None
    except LocalEntryNotFoundError:
        reason = "the hub cannot be reached and the model was not fetched before"
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
    raise FathomError(
        f"The model {named} cannot be had: {reason}. Go online, or copy its folder here and set model to that folder."
    )
