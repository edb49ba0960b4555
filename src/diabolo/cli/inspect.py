"""The commands that describe a model: `diabolo report` and `diabolo info`."""

from __future__ import annotations

import json
import os
import re
import textwrap
from inspect import cleandoc, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UsageError
from .options import (
    MODELS,
    SYNONYMS,
    Key,
    MaybeRun,
    Run,
    aware_of,
    model_name,
    one_line,
    open_series,
    parse_shape,
    takes_file_options,
)

__all__ = ["describe_manifest", "info", "models", "report"]


@takes_file_options
def report(
    run: Run,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="Rows for the examples, preferably rows the model was not trained on; formats as for `fit`.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="The page to write.")] = Path(
        "report.html"
    ),
    color: Annotated[
        str | None,
        typer.Option(
            "--color",
            "--label",
            metavar="COLUMN",
            help="The column of DATA that colours the latent map, or holds the labels of a classifier.",
        ),
    ] = None,
    image_shape: Annotated[
        str | None,
        typer.Option("--image-shape", metavar="HxW[x3]", help="Show rows as images of this height and width."),
    ] = None,
    key: Key = None,
    *,
    file_options: dict[str, object],
) -> None:
    """Write a report about RUN: did it learn, what did it learn, can it be trusted?

    The report is one HTML page that works offline: learning curves, reconstructions, a map of the latent space,
    samples, a decoder that runs in the page, and findings, which are printed as well. For an anomaly detector: scores,
    threshold, calibration, the columns behind the alarms, and the most unusual rows with reasons; for one of series:
    the series, its alarms and expected values. For an imputer: errors in hidden cells by column, and the coverage of
    intervals. For a generator: generated beside real rows. For a classifier: confusion and calibration.
    """
    from ..data.file_options import FileOptions
    from ..data.readers import labels
    from ..estimators.loading import load

    model = load(run)
    accepted = signature(model.report).parameters
    for option, given, name in (("--color", color, "y"), ("--image-shape", image_shape, "image_shape")):
        if given is not None and name not in accepted:
            raise UsageError(f"{option} is not for the report of a {type(model).__name__}. Omit it.")
    if color is not None and data is None:
        raise UsageError("--color names a column of DATA, but DATA is missing. Add it after RUN.")
    more: dict[str, Any] = {} if image_shape is None else {"image_shape": parse_shape(image_shape)}
    rows: Any = None
    if data is not None:
        more |= {} if color is None else {"y": labels(data, color)}
        is_series = hasattr(model, "alarms")
        with aware_of([color] if color else ()):
            rows = (
                open_series(data, (), (), (), file_options)
                if is_series
                else model.input_.source(data, key, FileOptions.of(file_options))
            )
    with one_line():
        made = model.report(rows, **more, title=run.name)
    made.save(output)
    for finding in made.findings:
        typer.echo(f"{finding.title}: {finding.evidence}\n  {finding.action}")
    typer.echo(f"{'no findings; ' if not made.findings else ''}the report is {output}")


@takes_file_options
def info(
    run: MaybeRun = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    history: Annotated[bool, typer.Option("--history", help="Print the learning curves as CSV.")] = False,
    verify: Annotated[
        str | None,
        typer.Option(
            "--verify",
            metavar="DATA",
            help="RUN's training rows: check that this machine reproduces the stored results.",
        ),
    ] = None,
    system: Annotated[
        bool, typer.Option("--system", help="Describe this machine instead: versions, devices, the cache of programs.")
    ] = False,
    key: Key = None,
    *,
    file_options: dict[str, object],
) -> None:
    """Describe RUN and its training, or with --system this machine.

    With --verify: check whether this machine reproduces the results stored with RUN bit for bit; if not, exit status 1.
    """
    from ..persistence.files import read_manifest

    if system:
        if run is not None or history or verify is not None:
            raise UsageError("--system describes this machine and no model. Omit RUN and its options.")
        found = _describe_system()
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False) if as_json else _in_lines(found))
        return
    if run is None:
        raise UsageError("info needs RUN, a folder written by `diabolo fit`, or --system.")
    manifest = read_manifest(run)
    if verify is not None:
        if threads := manifest.get("probe", {}).get("threads"):  # the order of summation depends on it
            os.environ.setdefault("DIABOLO_THREADS", str(threads))
        _verify(run, verify, key, file_options)
        return
    if history:
        curves = manifest["fitted"].get("history_")
        if not curves:
            raise UsageError(f"{run} holds an {manifest['estimator']}, which has no learning curves.")
        typer.echo(",".join(("epoch", *curves)))
        for epoch, values in enumerate(zip(*curves.values(), strict=True), start=1):
            typer.echo(",".join((str(epoch), *map(repr, values))))
        return
    typer.echo(json.dumps(manifest, indent=1, ensure_ascii=False) if as_json else describe_manifest(manifest))


def _verify(run: Path, data: str, key: str | None, file_options: dict[str, object]) -> None:
    from ..data.file_options import FileOptions
    from ..estimators.loading import load

    model = load(run)
    if not hasattr(model, "verify"):
        raise UsageError(f"{run} holds an {type(model).__name__}, which stores no results to verify.")
    found = model.verify(model.input_.source(data, key, FileOptions.of(file_options)))
    typer.echo(str(found))
    if not found.same_bits:
        raise typer.Exit(1)


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Describe this model and its parameters.", show_default=False)
    ] = None,
) -> None:
    """List the models of `diabolo fit`, or the parameters of one.

    Each parameter is printed with its default value and its meaning. Set it with -s NAME=VALUE.
    """
    import diabolo

    if name is None:
        also = {short: [other for other, known in SYNONYMS.items() if known == short] for short in MODELS}
        width = max(map(len, MODELS))
        for short, kind in MODELS.items():
            others = f" Also: {', '.join(also[short])}." if also[short] else ""
            typer.echo(f"{short:<{width}}  {_summary(cleandoc(getattr(diabolo, kind).__doc__))}{others}")
        typer.echo("\ndiabolo models MODEL  lists the parameters of a model.")
        return
    kind = MODELS[model_name(name)]
    estimator = getattr(diabolo, kind)
    text = cleandoc(estimator.__doc__)
    meanings = dict(_described_parameters(text))
    typer.echo(f"{kind}: {_summary(text)}")
    for parameter in signature(estimator).parameters.values():
        declared, meaning = meanings[parameter.name]
        allowed = re.sub(r",? ?default=.*", "", declared)
        typer.echo(f"\n{parameter.name} = {_written(parameter.default)}    ({allowed})")
        typer.echo(textwrap.fill(" ".join(meaning.split()), 100, initial_indent="    ", subsequent_indent="    "))


def _summary(text: str) -> str:
    """Return the first paragraph of a docstring, in one line."""
    return " ".join(text.split("\n\n", 1)[0].split())


def _described_parameters(text: str) -> list[tuple[str, tuple[str, str]]]:
    """Return the parameters of a numpydoc docstring: name, type and meaning."""
    section = re.split(r"^\w+\n-+\n", text.split("\nParameters\n----------\n", 1)[1], flags=re.MULTILINE)[0]
    entries = re.findall(r"^(\S[^:\n]*) : (.*)\n((?:(?:    .*)?\n?)*)", section, re.MULTILINE)
    return [(name, (declared, meaning)) for names, declared, meaning in entries for name in names.split(", ")]


def _written(value: object) -> str:
    """Write a default value as `--set` reads it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _describe_system() -> dict[str, str]:
    """Describe the machine: what results and speed depend on. Compile a program twice to try the cache."""
    import platform
    import tempfile

    import jax

    from .. import jax_config, program_cache
    from ..persistence.files import versions

    folder = jax_config.cache_folder()
    found = {
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "python": f"{platform.python_version()}, {platform.platform()}",
        "devices": ", ".join(map(str, jax.devices())),
        "threads": str(jax_config.n_threads()),
    }
    if os.environ.get("DIABOLO_CACHE") == "off":
        return found | {"compiled programs": "not stored (DIABOLO_CACHE=off)"}
    if folder is None and not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return found | {"compiled programs": "not stored: there is no home folder. Set XDG_CACHE_HOME."}
    place = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", "")) if folder is None else folder
    files = [file.stat().st_size for file in place.glob("*") if file.is_file()]
    bound = "no bound of diabolo's" if folder is None else f"at most {program_cache.MOST_BYTES >> 20:,} MB"
    found["compiled programs"] = f"{place}: {len(files):,} files, {sum(files) / 2**20:,.0f} MB, {bound}" + (
        "" if os.access(place, os.W_OK) or not place.exists() else ", only read: the folder cannot be written"
    )
    with tempfile.TemporaryDirectory() as scratch:
        works = program_cache.is_effective(Path(scratch))
    found["stored programs"] = (
        "are used again"
        if works
        else "are of no use: JAX rejects every one on this processor, so each process compiles anew "
        "(https://github.com/jax-ml/jax/issues/38445). DIABOLO_CACHE=off saves the writing."
    )
    return found


def _in_lines(values: dict[str, str]) -> str:
    width = max(map(len, values))
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in values.items())


def describe_manifest(manifest: dict[str, Any]) -> str:
    """Describe a saved model in lines of text."""
    from ..data.schema import Schema

    fitted, names = manifest["fitted"], manifest["feature_names"]
    if "members" in manifest:
        members = manifest["members"]
        kinds = {f", each a {one['estimator']} with scaling {one['fitted']['scaling']}" for one in members[:1]}
        training = {"networks": f"{len(members)}{''.join(kinds)}"}
    else:
        history, best = fitted["history_"], fitted["best_epoch_"]
        curves = [name for name in history if name not in ("beta", "learning_rate")]
        training = {
            "scaling": fitted["scaling"],
            "epochs": f"{fitted['n_epochs_']}, best {best or 'the start'}; {'its' if best else 'the last'} losses, "
            "in nats and scaled units:",
            **{f"  {name}": f"{history[name][best - 1]:.6g}" for name in curves if 0 <= best <= len(history[name]) > 0},
        }
    features, schema = f"{fitted['n_features_in_']:,}", fitted.get("schema")
    if schema:
        features += "".join(f"\n  {line}" for line in str(Schema.from_json(schema)).splitlines())
    elif names:
        features += f" ({', '.join(names[:8])}{', …' if len(names) > 8 else ''})"
    lines = {
        "model": manifest["estimator"],
        "trained on": f"{fitted['n_samples_']:,} rows, fingerprint {fitted['data_fingerprint_']}",
        "features": features,
        **training,
        "parameters": "",
        **{f"  {name}": json.dumps(value, ensure_ascii=False) for name, value in manifest["parameters"].items()},
        "written by": ", ".join(f"{name} {number}" for name, number in manifest["versions"].items()),
    }
    return _in_lines(lines)
