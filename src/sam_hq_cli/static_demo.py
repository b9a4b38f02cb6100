"""`sam-hq demo --static`: the page with the model inside it, so that no server sees a photo."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from sam_hq_cli.model_loading import is_exported, load_whole, model_name
from sam_hq_cli.serving import LOOPBACK, check_web_libraries, listening_socket, serve


def run_static(args: argparse.Namespace) -> None:
    """Write the folder unless it is there, then serve it until interrupted.

    Args:
        args: Of `sam-hq demo`.
    """
    check_web_libraries()
    from sam_hq.demo.static_folder import is_static_demo
    from sam_hq.demo.static_server import build_static_app

    folder = Path(args.static)
    there = is_static_demo(folder)
    if there and (args.model or args.photos or args.runtime):
        raise ValueError(
            f"{args.static!r} is there already and is served as it is: name another directory, or leave --model, "
            "--runtime and the images out"
        )
    with listening_socket(args.host, args.port) as listener:
        if not there:
            _write(args)
        print(f"folder   {folder}, for any web server")
        app = build_static_app(folder) if args.host in LOOPBACK else build_static_app(folder, allowed_hosts=None)
        serve(app, listener, args.host, args.browser)


def _write(args: argparse.Namespace) -> None:
    from sam_hq.demo.static_folder import check_static_demo, write_static_demo

    exported_already = args.model is not None and is_exported(args.model)
    name = args.model if exported_already else model_name(args.model)
    shown = Path(name).resolve().name if Path(name).is_dir() else name
    check_static_demo(args.static, args.photos, args.runtime)
    if exported_already:
        write_static_demo(args.static, name, shown, args.photos, args.runtime)
        return
    with tempfile.TemporaryDirectory() as work:
        exported = Path(work) / "exported"
        _export(name, exported)
        write_static_demo(args.static, exported, shown, args.photos, args.runtime)


def _export(name: str, directory: Path) -> None:
    import torch

    from sam_hq.export.onnx import export_onnx

    model, processor = load_whole(name, torch.device("cpu"), torch.float32)
    export_onnx(model, processor.image_processor, directory)
