"""Commands that carry models to other programs and back: export, import."""

from __future__ import annotations

import os
from typing import Any

import click

from ..activations import HIDDEN_ACTIVATIONS, OUTPUT_ACTIVATIONS
from ..errors import UsageError
from ..options import SectionedCommand, complete_path, option, output_options

__all__ = ["export", "import_"]


@click.command(cls=SectionedCommand)
@click.argument("model_file", metavar="MODEL", shell_complete=complete_path)
@click.argument("onnx_file", metavar="FILE.onnx", shell_complete=complete_path)
@option(
    "--input-dtype",
    type=click.Choice(["uint8", "float32", "float64"]),
    section="Data",
    help="number type of the samples that the file takes; by default that of the weights",
)
@output_options
def export(model_file: str, onnx_file: str, input_dtype: str | None, quiet: bool, as_json: bool) -> None:
    """Write a model as an ONNX file, for onnxruntime and everything else that reads ONNX.

    The file takes raw samples (pixels from 0 to 255) and holds the class names, so that nothing is left to do around
    it. Needs the package onnx: pip install 'fastbp[onnx]'
    """
    if not onnx_file.lower().endswith(".onnx"):
        raise UsageError(f"ONNX is the one format that is written, so FILE must end in .onnx, got {onnx_file!r}")
    from ..console import facts, print_json, size
    from ..model import load
    from ..onnx_export import network_graph, to_onnx

    model = load(model_file)
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


@click.command("import", cls=SectionedCommand)
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
