"""Starting one network from another's weights, by parameter name; what was not carried over is always reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from fathomseg.errors import FathomError


@dataclass(frozen=True, slots=True)
class TransferReport:
    """Tensor names by what became of them; `str()` is a readable listing."""

    loaded: tuple[str, ...]
    """Copied into the target."""
    missing: tuple[str, ...]
    """In the target but not in the source: they keep the values they had."""
    unexpected: tuple[str, ...]
    """In the source but not in the target, by the name they would have there: not used."""
    mismatched: tuple[str, ...] = ()
    """In both, of different shapes; never empty in an error, always empty in what `transfer` returns."""

    def __str__(self) -> str:
        groups = {
            "loaded": self.loaded,
            "not in the source, left as they were": self.missing,
            "in the source only, not used": self.unexpected,
            "of another shape": self.mismatched,
        }
        return "\n".join(f"{len(names)} tensors {what}: {_short(names)}" for what, names in groups.items() if names)


def transfer(source: Mapping[str, Tensor], target: nn.Module, routes: Mapping[str, str]) -> TransferReport:
    """Copy tensors from a state dict into `target`, in place, where the names agree.

    `routes`: {part of the target: the source's part it starts from}, so that one decoder can start two. A decoder, and
    with it a head, may have levels the other lacks. An encoder must be the same. Raises `FathomError`, before anything
    is copied, for any tensor of another shape, a part of which nothing can be loaded, or an encoder that fits in part.
    """
    given = {
        f"{to}.{name.removeprefix(f'{origin}.')}": tensor
        for to, origin in routes.items()
        for name, tensor in source.items()
        if name.startswith(f"{origin}.")
    }
    prefixes = tuple(f"{part}." for part in routes)
    wanted = {name: tensor for name, tensor in target.state_dict().items() if name.startswith(prefixes)}
    shared = [name for name in wanted if name in given]
    report = TransferReport(
        loaded=tuple(name for name in shared if wanted[name].shape == given[name].shape),
        missing=tuple(name for name in wanted if name not in given),
        unexpected=tuple(name for name in given if name not in wanted),
        mismatched=tuple(name for name in shared if wanted[name].shape != given[name].shape),
    )
    _refuse(report, given, wanted, routes)
    target.load_state_dict({name: given[name] for name in report.loaded}, strict=False)
    return report


def _refuse(
    report: TransferReport, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], routes: Mapping[str, str]
) -> None:
    if report.mismatched:
        name = report.mismatched[0]
        raise FathomError(
            f"The weights do not fit this network. {name} is {list(given[name].shape)} in the source and should be "
            f"{list(wanted[name].shape)}. Give both networks the same encoder, decoder and widths.\n{report}"
        )
    for part, origin in routes.items():
        if not any(name.startswith(f"{part}.") for name in report.loaded):
            names = f"{part}.*" if part == origin else f"{part}.* there and {origin}.* here"
            raise FathomError(
                f"Nothing of {origin} can be taken over: no tensor named {names} is in both networks. Decoders must be "
                f"of one kind (depth_unet), and encoders the same timm model.\n{report}"
            )
    whole = ("encoders.", "links.")
    if odd := [name for name in (*report.missing, *report.unexpected) if name.startswith(whole)]:
        what = odd[0].partition(".")[0]
        raise FathomError(
            f"The {what} differ: {len(odd)} tensors are in only one of the two networks, for example {odd[0]}. "
            f"Give both networks the same settings, or leave the part out of init_from.parts.\n{report}"
        )
    loaded = {_level(name) for name in report.loaded}
    if odd := [n for n in (*report.missing, *report.unexpected) if n.startswith("decoders.") and _level(n) in loaded]:
        raise FathomError(
            f"The decoders differ: {len(odd)} tensors of levels that both have are in only one of them, for example "
            f"{odd[0]}. Give both the same decoder.norms and aspp, or leave the decoder out of init_from.parts."
            f"\n{report}"
        )


def _level(name: str) -> str:
    """The level of a decoder a tensor belongs to (decoders.depth.blocks.2)."""
    return ".".join(name.split(".")[:4])


def _short(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" ... {names[-1]}" if len(names) > 4 else "")
