"""The scene model: what it sees, its towers, and its file."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Any

import pytest
import torch

from fathomseg.config import Part, validate
from fathomseg.errors import ConfigError, FathomError
from fathomseg.models.saved import save_weights
from fathomseg.models.scene import AnyTower
from fathomseg.models.scene.inputs import NEUTRAL, inverse_of, nearness, painted, painted_label, palette
from fathomseg.models.scene.model import SceneEncoder
from fathomseg.models.scene.saved import SCENE, SceneCard, load_scene, same_classes
from fathomseg.types import IGNORE, ClassList

COLOURS = ((255, 0, 0), (0, 255, 51), (10, 20, 30))
TINY = {"name": "vit", "size": [16, 32], "width": 8, "depth": 1, "heads": 2}
TOWERS: dict[str, dict[str, Any]] = {
    "vit": TINY,
    "timm": {"name": "timm", "model": "test_vit", "pretrained": False},
}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def tiny(**settings: Any) -> SceneEncoder:
    return validate(SceneEncoder, {"tower": TINY, "embedding": 6, **settings})


class TestInputs:
    def test_one_hot_is_the_palette(self) -> None:
        label = torch.tensor([[[0, 1, 2], [2, 1, 0]]], dtype=torch.uint8)
        one_hot = torch.nn.functional.one_hot(label.long(), 3).permute(0, 3, 1, 2).float()
        soft, hard = painted(one_hot, palette(COLOURS)), painted_label(label, palette(COLOURS))
        torch.testing.assert_close(soft, hard, rtol=0, atol=0)
        assert (hard[0, :, 0, 1] * 255).tolist() == pytest.approx([0, 255, 51])

    def test_half_and_half_is_in_between(self) -> None:
        half = torch.tensor([0.5, 0.5, 0.0]).view(1, 3, 1, 1)
        assert (painted(half, palette(COLOURS)).flatten() * 255).tolist() == pytest.approx([127.5, 127.5, 25.5])

    def test_ignored_pixels_are_neutral(self) -> None:
        label = torch.full((1, 2, 2), IGNORE, dtype=torch.uint8)
        assert (painted_label(label, palette(COLOURS)) == NEUTRAL).all()

    def test_gradients_of_both_are_right(self) -> None:
        logits = random(1, 3, 2, 4).double().requires_grad_()
        inverse = (0.1 + random(2, 1, 2, 4)).double().requires_grad_()
        colours = palette(COLOURS).double()
        assert torch.autograd.gradcheck(lambda x: painted(x.softmax(1), colours), (logits,))
        assert torch.autograd.gradcheck(nearness, (inverse,))

    def test_the_sky_flattens_nothing_and_metres_are_any_unit(self) -> None:
        """A third of sky: what is near keeps its contrast, in metres or in any other unit."""
        metres = 5 + 40 * random(1, 1, 6, 8)
        metres[:, :, :2] = 0
        seen = nearness(inverse_of(metres))
        assert (seen[:, :, :2] == 0).all()
        ground = seen[:, :, 2:]
        assert ground.min() > 0.1
        assert ground.max() - ground.min() > 0.4
        torch.testing.assert_close(nearness(inverse_of(17 * metres)), seen)

    def test_a_wall_is_half_way_and_nothing_known_is_far(self) -> None:
        torch.testing.assert_close(nearness(torch.full((1, 1, 2, 2), 0.2)), torch.full((1, 3, 2, 2), 0.5))
        assert (nearness(torch.zeros(1, 1, 2, 2)) == 0).all()
        assert inverse_of(torch.zeros(1, 1, 1, 1)).item() == 0

    def test_a_wrong_nearest_pixel_does_not_take_the_whole_range(self) -> None:
        metres = 5 + 40 * random(1, 1, 40, 80)
        spoilt = metres.clone()
        spoilt[..., 0, 0] = 0.5
        difference = (nearness(inverse_of(spoilt)) - nearness(inverse_of(metres)))[..., 1:, :].abs().max()
        assert difference < 0.01


class TestTowers:
    def test_every_tower_is_tested(self) -> None:
        union = typing.get_args(typing.get_args(AnyTower)[0])
        assert {kind.model_fields["name"].default for kind in union} == set(TOWERS)
        assert all(issubclass(kind, Part) for kind in union)

    @pytest.mark.parametrize("name", TOWERS)
    def test_maps_of_any_size_give_unit_vectors(self, name: str) -> None:
        model = tiny(tower=TOWERS[name]).build().eval()
        for size in ((16, 32), (40, 30)):
            depth, segmentation = model(random(2, 1, *size), random(2, 3, *size, seed=1))
            assert depth.shape == segmentation.shape == (2, 6)
            torch.testing.assert_close(depth.norm(dim=1), torch.ones(2))
            assert (depth[0] - depth[1]).abs().max() > 1e-3, "what it sees matters"

    @pytest.mark.parametrize("name", TOWERS)
    def test_towers_are_shared_or_two(self, name: str) -> None:
        shared, two = (tiny(tower=TOWERS[name], towers=towers).build() for towers in ("shared", "two"))
        counts = [sum(p.numel() for p in model.parameters()) for model in (shared, two)]
        assert counts[1] == 2 * counts[0]
        inverse = random(1, 1, 16, 32)
        picture = nearness(inverse)
        assert (shared.eval().depth(inverse) @ shared.segmentation(picture).T).item() == pytest.approx(1, abs=1e-5)
        assert (two.eval().depth(inverse) @ two.segmentation(picture).T).item() < 0.99

    def test_the_default_is_small(self) -> None:
        assert 7e5 < sum(p.numel() for p in SceneEncoder().build().parameters()) < 9e5

    @pytest.mark.parametrize(
        ("tower", "message"),
        [
            ({"width": 10, "heads": 4}, "width 10 must be a multiple of heads 4"),
            ({"size": [60, 128]}, r"size \[60, 128\] must be a multiple of patch 8"),
        ],
    )
    def test_mistakes(self, tower: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            validate(SceneEncoder, {"tower": {"name": "vit", **tower}})

    def test_a_model_that_is_not_there(self) -> None:
        with pytest.raises(FathomError, match="no model named 'vit_huge_clop'"):
            tiny(tower={"name": "timm", "model": "vit_huge_clop"}).build()

    def test_clip_is_a_name_away(self) -> None:
        """Its tower, without fetching or filling 300 M weights."""
        with torch.device("meta"):
            tower = validate(SceneEncoder, {"tower": {"name": "timm"}}).tower.build(pretrained=False)
        assert (tower.size, tower.width) == ((224, 224), 1024)
        assert tower.mean.shape == (1, 3, 1, 1)


class TestSaved:
    CLASSES = ClassList(("a", "b", "c"), COLOURS)

    def save(self, folder: Path, **card: Any) -> SceneEncoder:
        encoder = tiny(towers="two")
        entry = SceneCard(encoder=encoder, classes=self.CLASSES.names, colours=self.CLASSES.colours, apart=3)
        model = encoder.build()
        save_weights(folder / SCENE, model.state_dict())
        tree = {"format": 1, "scene": {**entry.model_dump(mode="json"), **card}}
        (folder / "model.json").write_text(json.dumps(tree))
        self.model = model.eval()
        return encoder

    def test_what_was_saved_comes_back(self, tmp_path: Path) -> None:
        self.save(tmp_path)
        card, model = load_scene(tmp_path)
        assert card.apart == 3
        assert not model.training
        inverse, picture = random(1, 1, 16, 32), random(1, 3, 16, 32)
        for one, other in zip(model(inverse, picture), self.model(inverse, picture), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)

    def test_folders_without_one(self, tmp_path: Path) -> None:
        with pytest.raises(FathomError, match="holds no scene model: give a run with the objective `contrastive`"):
            load_scene(tmp_path)
        (tmp_path / "model.json").write_text('{"format": 1}')
        with pytest.raises(FathomError, match="has no scene model"):
            load_scene(tmp_path)
        self.save(tmp_path, encoder=tiny(embedding=7).model_dump(mode="json"))
        with pytest.raises(FathomError, match="does not hold the weights of the network"):
            load_scene(tmp_path)

    def test_other_classes_are_refused(self, tmp_path: Path) -> None:
        self.save(tmp_path)
        card, _ = load_scene(tmp_path)
        same_classes(tmp_path, card, self.CLASSES)
        swapped = ClassList(("a", "c", "b"), COLOURS)
        with pytest.raises(FathomError, match=r"3 classes, which are not the 3 .*: class 1 is b .* there and c "):
            same_classes(tmp_path, card, swapped)
        painted_otherwise = ClassList(("a", "b", "c"), (*COLOURS[:2], (0, 0, 0)))
        with pytest.raises(FathomError, match=r"class 2 is c \(10, 20, 30\) there and c \(0, 0, 0\) here"):
            same_classes(tmp_path, card, painted_otherwise)
        with pytest.raises(FathomError, match="begins as the other"):
            same_classes(tmp_path, card, ClassList(("a", "b"), COLOURS[:2]))
