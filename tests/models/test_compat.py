"""timm must import whatever state torchvision is in."""

import importlib

import pytest
import torch

from fathomseg.models import compat


class Recorder:
    """Stands for `torch.library.Library`, which allows one definition of a namespace per process."""

    def __init__(self, namespace: str, kind: str) -> None:
        self.namespace, self.kind, self.schemas = namespace, kind, []

    def define(self, schema: str) -> None:
        self.schemas.append(schema)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """A process in which nothing was declared yet; returns the libraries made from now on."""
    made: list[Recorder] = []
    monkeypatch.setattr(compat, "_declared", None)
    monkeypatch.setattr(compat, "_forget_half_imported", lambda: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.library, "Library", lambda *args: made.append(Recorder(*args)) or made[-1])
    return made


def importing(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    def import_module(name: str) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(importlib, "import_module", import_module)


def test_real_process_imports_timm() -> None:
    compat.ensure_timm_imports()
    import timm
    import torchvision

    assert timm.is_model("resnet18")
    assert torchvision.__version__
    assert torch.ops.torchvision.nms is not None


def test_declares_the_missing_operators_once(fresh: list[Recorder], monkeypatch: pytest.MonkeyPatch) -> None:
    importing(monkeypatch, RuntimeError("operator torchvision::nms does not exist"))
    compat.ensure_timm_imports()
    compat.ensure_timm_imports()
    assert len(fresh) == 1
    assert (fresh[0].namespace, fresh[0].kind) == ("torchvision", "DEF")
    assert [schema.split("(")[0] for schema in fresh[0].schemas] == ["nms", "qnms"]
    assert compat._declared is fresh[0], "the library must live on, or its operators vanish"


def test_does_nothing_where_torchvision_works(fresh: list[Recorder], monkeypatch: pytest.MonkeyPatch) -> None:
    importing(monkeypatch, None)
    compat.ensure_timm_imports()
    assert fresh == []


def test_does_nothing_where_torchvision_is_absent(fresh: list[Recorder], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    importing(monkeypatch, AssertionError("must not be imported"))
    compat.ensure_timm_imports()
    assert fresh == []


def test_other_failures_are_not_hidden(fresh: list[Recorder], monkeypatch: pytest.MonkeyPatch) -> None:
    importing(monkeypatch, RuntimeError("CUDA driver version is insufficient"))
    with pytest.raises(RuntimeError, match="insufficient"):
        compat.ensure_timm_imports()
    assert fresh == []
