"""Commands that carry models to other programs and back: export, import."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from ..activations import HIDDEN_ACTIVATIONS, OUTPUT_ACTIVATIONS
from ..errors import UsageError
from ..options import SectionedCommand, complete_path, option, output_options

if TYPE_CHECKING:
    from ..model import Model

__all__ = ["export", "import_"]


@click.command(cls=SectionedCommand, short_help="Write a model for other programs, or as a page to draw in.")
@click.argument("model_file", metavar="MODEL", shell_complete=complete_path)
@click.argument("file", metavar="FILE", shell_complete=complete_path)
@option(
    "--input-dtype",
    type=click.Choice(["uint8", "float32", "float64"]),
    section="Data",
    help="number type of the samples that an ONNX file takes; by default that of the weights",
)
@output_options
def export(model_file: str, file: str, input_dtype: str | None, quiet: bool, as_json: bool) -> None:
    """Write a model as FILE.onnx, for other programs, or as FILE.html, a page to draw in.

    The ONNX file takes raw samples (pixels from 0 to 255) and holds the class names, so that nothing is left to do
    around it. Needs the package onnx: pip install 'fastbp[onnx]'

    The page shows what every layer makes of a drawing. It is one file, opened by any browser without a server, for
    models of square pictures.
    """
    name = file.lower()
    if not name.endswith((".onnx", ".html")):
        raise UsageError(f"ONNX and HTML are what is written, so FILE must end in .onnx or .html, got {file!r}")
    from ..model import load

    if name.endswith(".onnx"):
        _export_onnx(load(model_file), model_file, file, input_dtype, as_json)
    elif input_dtype is not None:
        raise UsageError("--input-dtype is for ONNX files; a page takes what is drawn in it")
    else:
        _export_page(load(model_file), model_file, file, as_json)


def _export_page(model: Model, model_file: str, file: str, as_json: bool) -> None:
    """Write the page, and say how large it is."""
    from ..console import facts, print_json, size
    from ..pages.model_page import to_page

    to_page(model, file)
    n_bytes = os.path.getsize(file)
    if as_json:
        print_json({"model": model_file, "file": file, "bytes": n_bytes, "classes": model.class_names})
    else:
        facts([("file", f"{file} ({size(n_bytes)})"), ("network", str(model.network))])


def _export_onnx(model: Model, model_file: str, onnx_file: str, input_dtype: str | None, as_json: bool) -> None:
    """Write the ONNX file, and say what goes into it and comes out."""
    from ..console import facts, print_json, size
    from ..onnx_export import network_graph, to_onnx

    to_onnx(model, onnx_file, input_dtype=input_dtype)
    graph, n_bytes = network_graph(model, input_dtype), os.path.getsize(onnx_file)
    if as_json:
        print_json(
            {
                "model": model_file,
                "file": onnx_file,
                "bytes": n_bytes,
                "opset": graph.opset,
                "input": graph.input._asdict(),
                "outputs": [value._asdict() for value in graph.outputs],
                "classes": model.class_names,
            }
        )
        return
    values = [f"{value.name}: {value.dtype} ({', '.join(map(str, value.shape))})" for value in graph.outputs]
    facts(
        [
            ("file", f"{onnx_file} ({size(n_bytes)})"),
            ("opset", graph.opset),
            ("input", f"{graph.input.name}: {graph.input.dtype} ({', '.join(map(str, graph.input.shape))})"),
            ("outputs", values),
        ]
    )


@click.command("import", cls=SectionedCommand, short_help="Make a model file from the weights of PyTorch.")
@click.argument("weights_file", metavar="WEIGHTS", shell_complete=complete_path)
@click.argument("model_file", metavar="MODEL", shell_complete=complete_path)
@option(
    "--activation",
    metavar="NAMES",
    required=True,
    section="Network",
    help=f"of the hidden layers: one name, or a comma-separated list ({', '.join(HIDDEN_ACTIVATIONS)})",
)
@option(
    "--output-activation",
    type=click.Choice(OUTPUT_ACTIVATIONS),
    default="softmax",
    show_default=True,
    section="Network",
    help="of the output layer; identity, relu, ... make it a model of values",
)
@option("--prefix", metavar="TEXT", section="Network", help="what the names of the layers begin with, such as net.")
@option(
    "--classes", metavar="NAMES", section="Data", help="names of the classes, separated by commas; by default 0,1,2"
)
@option(
    "--normalize",
    type=click.Choice(["none", "unit"]),
    default="none",
    show_default=True,
    section="Data",
    help="what the net was given: samples as they are, or pixels divided by 255",
)
@output_options
def import_(weights_file: str, model_file: str, quiet: bool, as_json: bool, **options: Any) -> None:
    """Make a model file from the weights of a PyTorch nn.Sequential of Linear layers.

    WEIGHTS is a safetensors file, as safetensors.torch.save_file(net.state_dict(), path) writes it. Example: fastbp
    import net.safetensors model.safetensors --activation relu --normalize unit
    """
    from ..console import facts, print_json
    from ..exchange import from_torch
    from ..preprocessing import Scaling
    from ..report import model_facts

    if os.path.realpath(weights_file) == os.path.realpath(model_file):
        raise UsageError(f"MODEL would replace the file of the weights, {weights_file}; choose another name")
    model = from_torch(
        weights_file,
        options["activation"],
        output_activation=options["output_activation"],
        class_names=None if options["classes"] is None else [name.strip() for name in options["classes"].split(",")],
        inputs=Scaling(0.0, 1 / 255) if options["normalize"] == "unit" else None,
        prefix=options["prefix"],
    )
    model.save(model_file)
    found = model_facts(model_file)
    print_json(found) if as_json else facts((name, value) for name, value in found.items() if value != {})
