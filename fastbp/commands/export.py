"""Commands that carry models to other programs: export."""

from __future__ import annotations

import os

import click

from ..errors import UsageError
from ..options import SectionedCommand, option, output_options

__all__ = ["export"]


@click.command(cls=SectionedCommand)
@click.argument("model_file", metavar="MODEL")
@click.argument("onnx_file", metavar="FILE.onnx")
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
