"""The command line: the verbs and nothing else. Heavy imports happen inside each verb, so --help answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fathomseg.errors import ConfigError
from fathomseg.named_recipes import find
from fathomseg.shell.arguments import (
    Engine,
    Flip,
    InferenceOverrides,
    Json,
    Links,
    Mode,
    Overrides,
    RecipeAndOverrides,
    Workers,
    data_first,
    recipe_first,
)
from fathomseg.shell.completion import recipe_or_setting
from fathomseg.shell.errors import errors_in_words
from fathomseg.shell.verbs import HELP, QuickVerb, Verbs, VerbTable
from fathomseg.version import __version__

app = Verbs(
    name="fathom",
    cls=VerbTable,
    help="Learn semantic segmentation from very few labelled images.",
    no_args_is_help=True,
    context_settings=HELP,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> bool:
    if wanted:
        print(f"fathom {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Learn semantic segmentation from very few labelled images."""


@app.command()
def check(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA [KEY=VALUE]...",
            help="A recipe, a dataset.yaml or its folder, or a dataset's name, and settings to change.",
            show_default=False,
            autocompletion=recipe_or_setting,
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Another way to give DATA.")] = None,
    json: Json = False,
    report: Annotated[bool, typer.Option(help="Write runs/check/NAME.html, a page of it all.")] = True,
) -> None:
    """Scan a dataset: count classes and pixels, list every bad file with its reason, and show samples in a page."""
    named = data_first(arguments, data)
    from fathomseg.stages.check import checked

    raise typer.Exit(bool(checked(*named, json, report).problems))


@app.command()
def train(
    arguments: RecipeAndOverrides = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to create; default runs/RECIPE.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Resume this run, bit for bit.")] = None,
) -> None:
    """Train a network by a recipe, or resume an interrupted run."""
    recipe = recipe_first(arguments)  # a wrong name is reported before PyTorch is imported
    from fathomseg.stages.train import trained

    trained(*recipe, out, resume)


app.command(
    "pretrain",
    help="Learn depth and camera motion from unlabelled video by a recipe, or resume an interrupted run.",
)(train)


@app.command()
def select(
    arguments: RecipeAndOverrides = None,
    out: Annotated[Path | None, typer.Option(help="Folder to create; default runs/RECIPE.")] = None,
    budget: Annotated[int | None, typer.Option(help="How many images to choose; default: the recipe's.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Resume this selection, perhaps with a larger --budget.")] = None,
    engine: Engine = "local",
    workers: Workers = 1,
) -> None:
    """Choose which images of a pool should be labelled, before anyone has labelled one."""
    recipe = recipe_first(arguments)
    from fathomseg.stages.select import chosen

    chosen(*recipe, out, resume, budget, engine, workers)


@app.command("import-labels")
def import_labels(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="What the tool exported: CVAT's masks (Segmentation mask 1.1), COCO, YOLO segmentation, or Label "
            "Studio's JSON. The content says which.",
        ),
    ],
    selection: Annotated[Path, typer.Option(help="The folder of `fathom select`, or its folder of the export.")],
    out: Annotated[
        Path, typer.Option("--out", "--to", help="Dataset folder to put the labels in; made if it is not there.")
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace labels that are there and differ.")] = False,
    json: Json = False,
) -> None:
    """Turn what annotators drew on the chosen images into the labels of a dataset folder."""
    from fathomseg.stages.import_labels import imported

    raise typer.Exit(bool(imported(source, selection, out, overwrite, json).unusable))


@app.command()
def evaluate(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a file of `fathom export`.")],
    overrides: Overrides = None,
    data: Annotated[str | None, typer.Option(help="Score on this dataset instead of the run's own.")] = None,
    split: Annotated[str, typer.Option(help="The split to score on.")] = "val",
    weights: Annotated[str, typer.Option(help="ema (averaged), last, or both.")] = "both",
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Score these alone: segmentation, depth, motion, scenes, with commas; default: all there is truth for."
        ),
    ] = None,
    mode: Mode = None,
    flip: Flip = False,
    links: Links = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Score this folder of predictions of one task instead of the network: PNGs of class ids, or for depth "
            "PNGs of 16-bit disparity or .npy files of metres."
        ),
    ] = None,
    max_depth: Annotated[
        float | None, typer.Option(help="Depth: metres beyond which truth does not count; default 80.")
    ] = None,
    crop: Annotated[
        str | None, typer.Option(help="Depth: the part of the image that counts: none, garg or eigen.")
    ] = None,
    alignment: Annotated[
        str | None,
        typer.Option(
            help="Depth: what to look at first: none, median or scale_shift; default: as the model card says."
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            help="Delta_m against this run, scored in the same way before; TASK=RUN, repeated, for a run each."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Score only the first N images.")] = None,
    report: Annotated[bool, typer.Option(help="Write the HTML report.")] = True,
    json: Json = False,
) -> None:
    """Score all tasks of a run at the native size of labels and depth; write scores.json and an HTML report."""
    from fathomseg.stages.evaluate import scored

    scored(
        run_folder,
        data=data,
        overrides=overrides or [],
        split=split,
        weights=weights,
        tasks=tasks,
        mode=mode,
        flip=flip,
        links=links,
        against=against,
        json=json,
        report=report,
        limit=limit,
        max_depth=max_depth,
        crop=crop,
        alignment=alignment,
        baseline=baseline or (),
    )


@app.command()
def predict(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or a file of `fathom export`.")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="An image, a video, a folder of them, a pattern such as 'drive/*.png', or a camera: 0.",
        ),
    ],
    *,
    overrides: InferenceOverrides = None,
    out: Annotated[str, typer.Option(help="Folder to write PNGs of the predictions, and pictures of them, to.")],
    tasks: Annotated[
        str | None, typer.Option(help="What to predict: segmentation,depth; default: all the run has.")
    ] = None,
    weights: Annotated[str, typer.Option(help="ema (averaged) or last.")] = "ema",
    mode: Mode = None,
    flip: Flip = False,
    links: Links = None,
    overlay: Annotated[bool, typer.Option(help="Write coloured pictures as well.")] = True,
    overwrite: Annotated[bool, typer.Option(help="Predict again what is already there.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; default: a GPU if there is one.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images at once; default: 8 on a GPU, 1 on a CPU.")] = None,
    pointcloud: Annotated[
        bool, typer.Option("--pointcloud", help="Write images as .ply points with colours and classes too.")
    ] = False,
    camera: Annotated[
        str | None,
        typer.Option(help="Camera of the point clouds: a camera.yaml, or the horizontal field of view in degrees."),
    ] = None,
    max_depth: Annotated[
        float | None,
        typer.Option(help="Farthest depth of the point clouds, in metres if the run's depth is, else in its unit."),
    ] = None,
    smooth: Annotated[
        float, typer.Option(help="Videos: share of depth kept from frame to frame where nothing changes, such as 0.8.")
    ] = 0.0,
    format: Annotated[
        str, typer.Option(help="Classes also as coco (coco.json) or yolo (yolo/labels/): ids, coco, yolo, with commas.")
    ] = "ids",
    frames: Annotated[int | None, typer.Option(help="Cameras: how many pictures; default: until Ctrl-C.")] = None,
    bits: Annotated[
        int | None,
        typer.Option(help="Bits that images in files of 16 bits use, such as 12; default: as in the run's own data."),
    ] = None,
    engine: Engine = "local",
    workers: Workers = 1,
) -> None:
    """Predict the classes and the depth, or whatever the run has learned, of an image, a folder or a video."""
    from fathomseg.stages.predict import predicted

    found = predicted(
        run_folder,
        source,
        out,
        tasks=tasks,
        weights=weights,
        mode=mode,
        flip=flip,
        links=links,
        overlay=overlay,
        overwrite=overwrite,
        device=device,
        batch=batch,
        pointcloud=pointcloud,
        camera=camera,
        max_depth=max_depth,
        smooth=smooth,
        bits=bits,
        engine=engine,
        workers=workers,
        format=format,
        frames=frames,
        overrides=overrides or [],
    )
    raise typer.Exit(bool(found.problems))


@app.command()
def export(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, for example model.onnx.")],
    overrides: Overrides = None,
    tasks: Annotated[
        str | None, typer.Option(help="What it predicts: segmentation,depth; default: all the run has.")
    ] = None,
    weights: Annotated[str, typer.Option(help="ema (averaged) or last.")] = "ema",
    precision: Annotated[
        str,
        typer.Option(
            help="fp32, fp16 (for GPUs) or int8 (statically quantised, for CPUs); outputs are float32 always."
        ),
    ] = "fp32",
    int8: Annotated[bool, typer.Option("--int8", help="The same as --precision int8.")] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(help="int8: folder of images that show its ranges; default: the run's own train split."),
    ] = None,
    fixed_size: Annotated[
        bool,
        typer.Option("--fixed-size", help="Only images of the run's working size; some encoders and chips need it."),
    ] = False,
    data: Annotated[
        str | None, typer.Option(help="int8, fp16: data to measure the loss on; default: the run's.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="int8, fp16: the split the loss of accuracy is measured on; default: val.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="int8, fp16: measure on the first N images.")] = None,
) -> None:
    """Write a trained network as one ONNX file, checked against PyTorch, that runs without PyTorch and fathomseg."""
    from fathomseg.stages.export import exported

    exported(
        run_folder,
        out,
        tasks=tasks,
        weights=weights,
        precision=precision,
        int8=int8,
        calibration=calibration,
        fixed_size=fixed_size,
        data=data,
        split=split,
        limit=limit,
        overrides=overrides or [],
    )


@app.command()
def distill(
    teacher: Annotated[
        str, typer.Argument(metavar="TEACHER", help="A run folder, a file of `fathom export`, or hf:OWNER/NAME.")
    ],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A recipe, whose label budgets count, a dataset.yaml or its folder, or a dataset's name.",
        ),
    ],
    task: Annotated[str, typer.Option(help="What the teacher predicts: segmentation, depth or normals.")],
    out: Annotated[Path, typer.Option(help="Folder to write to, or to resume.")],
    overrides: Overrides = None,
    split: Annotated[str, typer.Option(help="The split whose images are shown to the teacher.")] = "train",
    everything: Annotated[
        bool,
        typer.Option(
            "--everything", "--all", help="Predict every image, not only those that lack a label, depth or normals."
        ),
    ] = False,
    soft: Annotated[bool, typer.Option("--soft", help="Segmentation: keep probabilities as well.")] = False,
    flip: Flip = False,
    classes: Annotated[
        Path | None, typer.Option(help="YAML of `teacher's class: dataset's class` (or null) where names differ.")
    ] = None,
    weights: Annotated[str, typer.Option(help="Of a run: ema (averaged) or last.")] = "ema",
    gives: Annotated[
        str | None, typer.Option(help="Depth models of Hugging Face that do not say it: depth (metres) or disparity.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; default: a GPU if there is one.")] = None,
    batch: Annotated[int, typer.Option(help="Images at once.")] = 4,
    engine: Engine = "local",
    workers: Workers = 1,
) -> None:
    """Let a teacher predict what images lack (labels, depth, normals), to be learned from. Repeat it to resume."""
    from fathomseg.stages.distill import distilled

    found = distilled(
        teacher,
        data,
        overrides or [],
        task=task,
        out=out,
        split=split,
        everything=everything,
        soft=soft,
        flip=flip,
        classes=classes,
        weights=weights,
        gives=gives,
        device=device,
        batch=batch,
        engine=engine,
        workers=workers,
    )
    raise typer.Exit(bool(found.problems))


@app.command()
def study(
    file: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="A study by its name (`fathom recipes`) or path: arms, label budgets, seeds.",
            autocompletion=recipe_or_setting,
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Settings to change, as group.key=value.",
            show_default=False,
            autocompletion=recipe_or_setting,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the study; default runs/studies/STUDY.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Trainings side by side; default: one a GPU, or as the cluster has room.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="Where they run: local (this machine), ray (a cluster) or slurm (a job each).")
    ] = "local",
    gpus: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="GPU of each training; 0.5: two share one; default: 1 where there are any. Slurm: 1 or 0, no default.",
        ),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Train only this arm; may be repeated.")] = None,
    table: Annotated[bool, typer.Option("--table", help="Train nothing; show and write what there is.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Train again what failed.")] = False,
    known: Annotated[
        list[Path] | None,
        typer.Option(help="results.json of the same study from elsewhere, not done again; may be repeated."),
    ] = None,
) -> None:
    """Train a grid of recipes, label budgets and seeds, and compare. Repeat it to resume."""
    from fathomseg.stages.study import run

    raise typer.Exit(
        run(find(file), overrides or [], out, workers, only or [], table, retry, known or [], engine, gpus)
    )


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to create, or to resume.")] = Path("demo"),
    minutes: Annotated[float, typer.Option(help="Time it may take on two idle cores, about.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed: other random images, another training.")] = 0,
) -> None:
    """Learn depth, choose 6 images and train on them in four ways, on the generated world: no data, no network."""
    from fathomseg.stages.demo import run

    raise typer.Exit(run(out, minutes, seed))


@app.command(cls=QuickVerb)
def recipes(
    word: Annotated[
        str | None, typer.Argument(help="Only those with this word in name or header.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """List the recipes that come with the package, with what was measured."""
    from fathomseg.shell.recipes import run

    raise typer.Exit(run(word, json))


@app.command()
def settings(
    arguments: RecipeAndOverrides = None,
    word: Annotated[str | None, typer.Option(help="Only those with this word in key, kind or meaning.")] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema instead, by which editors complete and check.")
    ] = False,
) -> None:
    """List every setting with its type, default and meaning; of a recipe, with its values."""
    try:
        recipe = recipe_first(arguments)
    except ConfigError as error:
        raise ConfigError(
            f"{error} To list settings by a word: fathom settings --word {(arguments or [''])[0]}"
        ) from None
    from fathomseg.stages.settings import run

    raise typer.Exit(run(*recipe, word, schema))


def main() -> None:
    """Run the command line; errors the user can mend are printed without a traceback."""
    with errors_in_words():
        app()


if __name__ == "__main__":
    main()
