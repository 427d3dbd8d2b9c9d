"""Carrying weights over from one network to another, by parameter name."""

from __future__ import annotations

import itertools

import pytest
import torch

from fathomseg.errors import FathomError
from fathomseg.models.init_from import TransferReport, transfer
from fathomseg.models.network import Network
from tests.models.networks import LITE, build, images, joint, seeing_depth, segmenting, unet

ENCODER = {"encoders.shared": "encoders.shared"}
TO_CLASSES = {**ENCODER, "decoders.segmentation": "decoders.depth"}
TO_BOTH = {**TO_CLASSES, "decoders.depth": "decoders.depth", "heads.depth": "heads.depth"}


def depth(seed: int = 3, **settings: object) -> Network:
    return build(seeing_depth(unet(**settings)), seed)


def classes(**settings: object) -> Network:
    return build(segmenting(unet(**settings)), seed=1)


def copied(network: Network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(network: Network, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in network.state_dict().items() if not torch.equal(before[name], tensor)}


def test_encoder_and_decoder_arrive_whole() -> None:
    source, target = depth().eval(), classes().eval()
    head = target.heads["segmentation"][1].weight.clone()
    report = transfer(source.state_dict(), target, TO_CLASSES)
    assert report.missing == report.unexpected == report.mismatched == ()
    assert set(report.loaded) == {n for n in target.state_dict() if not n.startswith("heads.")}
    maps = source.encoders["shared"](images(1, 64, 64))
    assert all(torch.equal(a, b) for a, b in zip(maps, target.encoders["shared"](images(1, 64, 64)), strict=True))
    assert torch.equal(source.decoders["depth"](maps), target.decoders["segmentation"](maps))
    assert torch.equal(target.heads["segmentation"][1].weight, head)


def test_the_encoder_alone() -> None:
    source, target = depth(), classes()
    before = copied(target)
    report = transfer(source.state_dict(), target, ENCODER)
    assert all(name.startswith("encoders.shared.") for name in report.loaded)
    assert all(name.startswith("encoders.shared.") for name in changed(target, before))
    assert torch.equal(*(n.state_dict()["encoders.shared.net.conv_stem.weight"] for n in (source, target)))


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations([1, 4], 2)))
def test_levels_one_side_lacks_are_listed(source: int, target: int) -> None:
    network, other = depth(stride=source), classes(stride=target)
    report = transfer(network.state_dict(), other, TO_CLASSES)
    fine = {
        f"decoders.segmentation.blocks.{i}.{where}.0.{what}"
        for i, where, what in itertools.product((0, 1), ("reduce", "join"), ("weight", "bias"))
    }
    assert set(report.missing) == (fine if target == 1 else set())
    assert set(report.unexpected) == (fine if target == 4 else set())
    block = "blocks.2.join.0.weight"
    a, b = network.state_dict()[f"decoders.depth.{block}"], other.state_dict()[f"decoders.segmentation.{block}"]
    assert torch.equal(a, b)


def test_one_decoder_starts_both() -> None:
    source, target = depth(), build(joint(unet()))
    report = transfer(source.state_dict(), target, TO_BOTH)
    assert report.missing == report.unexpected == report.mismatched == ()
    untouched = ("heads.segmentation", "early_heads.", "links.")
    assert set(report.loaded) == {n for n in target.state_dict() if not n.startswith(untouched)}
    for task in ("depth", "segmentation"):
        state = target.decoders[task].state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in source.decoders["depth"].state_dict().items())


def test_it_predicts_the_same_disparity_until_the_exchange() -> None:
    source, target, image = depth().eval(), build(joint(unet())).eval(), images(1, 48, 64)
    transfer(source.state_dict(), target, TO_BOTH)
    with torch.no_grad():
        ours, theirs = target(image)["depth"], source(image)["depth"]
    assert [torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)] == [False, False, True, True]


def test_back_to_a_single_network() -> None:
    target = depth()
    routes = {part: part for part in ("encoders.shared", "decoders.depth", "heads.depth")}
    report = transfer(build(joint(unet())).state_dict(), target, routes)
    assert set(report.loaded) == set(target.state_dict())


def test_links_are_carried_over() -> None:
    source, target = build(joint(unet())), build(joint(unet()), seed=1)
    before = copied(target)
    transfer(source.state_dict(), target, {"links": "links"})
    assert {name.split(".")[0] for name in changed(target, before)} == {"links"}


def test_heads_of_levels_one_side_lacks_are_listed() -> None:
    source, target = depth(), build(joint(unet(stride=4)))
    report = transfer(source.state_dict(), target, {"heads.depth": "heads.depth"})
    assert {name.split(".")[3] for name in report.loaded} == {"2", "3"}
    assert {name.split(".")[3] for name in report.unexpected} == {"0", "1"}
    assert report.missing == ()


def test_listing() -> None:
    report = TransferReport(loaded=("a", "b"), missing=("c", "d", "e", "f", "g", "h"), unexpected=())
    assert str(report).splitlines() == [
        "2 tensors loaded: a, b",
        "6 tensors not in the source, left as they were: c, d, e, f ... h",
    ]


class TestRefused:
    def test_another_shape_and_nothing_is_copied(self) -> None:
        target = build(joint(unet(channels=(4, 6, 8, 10, 13))))
        before = copied(target)
        match = r"decoders.segmentation.blocks.4.reduce.0.weight is \[12, .*\[13, "
        with pytest.raises(FathomError, match=match):
            transfer(depth().state_dict(), target, TO_BOTH)
        assert changed(target, before) == set()

    def test_another_decoder(self) -> None:
        target = build(segmenting({"name": "fpn", "channels": 8}))
        with pytest.raises(FathomError, match=r"Nothing of decoders.depth can be taken over.*of one kind"):
            transfer(depth().state_dict(), target, TO_CLASSES)

    def test_a_decoder_that_fits_in_part(self) -> None:
        """Convolutions that have learned under BatchNorm mean nothing without it."""
        target = classes()
        before = copied(target)
        with pytest.raises(FathomError, match=r"decoders differ: \d+ tensors .*same decoder\.norms"):
            transfer(depth(norms=True).state_dict(), target, TO_CLASSES)
        assert changed(target, before) == set()
        assert not transfer(depth(norms=True).state_dict(), classes(norms=True), TO_CLASSES).missing

    def test_nothing_at_all(self) -> None:
        with pytest.raises(FathomError, match=r"Nothing of encoders.shared"):
            transfer({"weight": torch.zeros(1)}, classes(), ENCODER)

    def test_a_source_without_the_part(self) -> None:
        with pytest.raises(FathomError, match=r"Nothing of heads.depth .*named heads.depth.\* is in both"):
            transfer(classes().state_dict(), build(joint(unet())), {"heads.depth": "heads.depth"})
        with pytest.raises(FathomError, match=r"decoders.depth.\* there and decoder.\* here"):
            transfer(build(joint(unet())).state_dict(), build(joint(unet())), {"decoders.depth": "decoder"})

    def test_an_encoder_that_fits_in_part(self) -> None:
        """Every tensor of ResNet-18 has its like in ResNet-34, which has others besides."""
        source = build(seeing_depth(unet(), encoder={**LITE, "model": "resnet18"}))
        deeper = build(segmenting({"name": "fpn", "channels": 8}, encoder={**LITE, "model": "resnet34"}))
        with pytest.raises(FathomError, match=r"The encoders differ: .*layer1\.2\..* same settings"):
            transfer(source.state_dict(), deeper, ENCODER)
