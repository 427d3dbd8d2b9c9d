"""Kind 3: settings that were dropped in silence, and numbers that are none."""

from __future__ import annotations

from tests.corpus.case import Case, Place, refused, table
from tests.corpus.inputs import choosing, folder, write
from tests.stages import tiny_depth


def all_recipes(place: Place) -> None:
    folder()
    choosing()
    write("depth.yaml", tiny_depth.settings())
    write("study.yaml", {"recipe": "recipe.yaml", "arms": {"a": {}}, "budgets": [1], "seeds": [0]})


def row(name: str, words: str, *said: str) -> tuple[object, ...]:
    return (name, "folder", all_recipes, words, refused(*said))


TRAINED = "train recipe.yaml --out ../out "

CASES: tuple[Case, ...] = table(
    row("evaluate root=", "evaluate @seg root=more", "root=more"),
    row("evaluate --data RECIPE root=", "evaluate @seg --data recipe.yaml root=more", "data.root=more"),
    row("evaluate a misspelt key", "evaluate @seg --data recipe.yaml dta.root=more", "data.root=more"),
    row(
        "evaluate a misspelt setting",
        "evaluate @seg evaluation.inference.flp=true --data .",
        "flp",
        "did you mean 'flip'",
    ),
    row("check --data RECIPE root=", "check --data recipe.yaml root=nowhere", "data.root=nowhere"),
    row("check a misspelt key", "check --data . rot=x", "rot", "did you mean 'root'"),
    row("train a misspelt group", TRAINED + "dta.root=x", "dta", "did you mean 'data'"),
    row("train a misspelt key", TRAINED + "train.step=3", "train.step", "did you mean 'steps'"),
    row("pretrain a misspelt key", "pretrain depth.yaml --out ../out optimizer.lr=1", "did you mean 'optimiser'"),
    row("select a misspelt key", "select select.yaml --out ../out bugdet=2", "did you mean 'budget'"),
    row("distill a misspelt key", "distill @seg recipe.yaml dta.root=x --task segmentation --out ../out", "'data'"),
    row("study a misspelt key", "study study.yaml seed=[1] --out ../out", "seed", "did you mean 'seeds'"),
    row("no key at all", TRAINED + "fast", "'fast'", "key=value"),
    row("lr=nan", TRAINED + "optimiser.lr=nan", "optimiser.lr", "finite"),
    row("lr=.nan", TRAINED + "optimiser.lr=.nan", "optimiser.lr"),
    row("lr=inf", TRAINED + "optimiser.lr=inf", "optimiser.lr"),
    row("lr=-1", TRAINED + "optimiser.lr=-1", "optimiser.lr"),
    row("ema_decay=nan", TRAINED + "train.ema_decay=nan", "train.ema_decay"),
    row("balance=nan", TRAINED + "objectives.supervised.losses.segmentation.balance=nan", "balance"),
    row("weight=inf", TRAINED + "objectives.supervised.losses.segmentation.weight=inf", "weight"),
    row("steps=-1", TRAINED + "train.steps=-1", "train.steps", "given: -1"),
    row("batch=0", TRAINED + "train.batch=0", "train.batch", "given: 0"),
    row("a negative size", TRAINED + "size=[-32,32]", "size", "given: -32"),
    row("a size of zero", TRAINED + "size=[0,32]", "size"),
    row("a size of text", TRAINED + "size=large", "size", "given: 'large'"),
    row("a negative seed", TRAINED + "seed=-1", "seed"),
    row("a negative budget", "select select.yaml --out ../out --budget -3", "budget", "-3"),
    row("a budget above the pool", "select select.yaml --out ../out --budget 99", "99"),
    row("labels.count=-1", TRAINED + "streams.labelled.labels.count=-1", "count"),
    row("labels.count above all", TRAINED + "streams.labelled.labels.count=99", "99"),
    row("--limit 0", "evaluate @seg --data . --limit 0", "--limit is 0"),
    row("--max-depth nan", "evaluate @depth --data . --max-depth nan", "max"),
    row("--max-depth -1", "evaluate @depth --data . --max-depth -1", "max"),
    row("--smooth nan", "predict @depth images --out ../out --smooth nan", "Smoothing", "nan"),
    row("--smooth 1", "predict @depth images --out ../out --smooth 1", "Smoothing", "below 1"),
    row("--batch 0", "predict @seg images --out ../out --batch 0", "--batch is 0"),
    row("--mode of no name", "predict @seg images --out ../out --mode fast", "mode", "'fast'"),
    row("--tasks of no name", "predict @seg images --out ../out --tasks deth", "'deth'", "segmentation"),
    row("--weights of no name", "predict @seg images --out ../out --weights best", "'best'", "ema"),
    row("--split of no name", "evaluate @seg --data . --split tset", "'tset'", "train"),
    row("a device of no name", TRAINED + "train.device=gpu", "gpu"),
    row(
        "--gives of no name",
        "distill hf:x/y . --task depth --gives metres --out ../out",
        "--gives",
        "depth or disparity",
    ),
    row("--precision of no name", "export @seg ../m.onnx --precision fp8", "'fp8'", "fp16"),
    row("window stride 0", "evaluate @seg --data . evaluation.inference.window.stride=0", "stride"),
    row("val_percent=0", "check --data . val_percent=0", "val_percent"),
    row("bits=99", "check --data . bits=99", "bits", "16"),
)
