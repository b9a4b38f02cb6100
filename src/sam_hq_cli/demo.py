"""`sam-hq demo`: a page on which to click on objects."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sam_hq_cli.model_loading import add_model_options, chosen_device, load_whole, model_name
from sam_hq_cli.serving import LOOPBACK, check_web_libraries, listening_socket, serve

DESCRIPTION = """\
Open a page in the browser: click on objects, drag boxes, choose among candidates, compare SAM with SAM-HQ, find
everything, download the masks. The server answers on this machine only, unless --host says otherwise; it has no
passwords, so whoever can reach it can use it. A photo stays in memory until another takes its place, or nobody has
used it for a while."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the sub-command `demo`."""
    parser = subparsers.add_parser(
        "demo",
        help="open a page on which to click on objects",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photos", nargs="*", metavar="PHOTO", help="images that the page offers as examples")
    add_model_options(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to answer on (127.0.0.1: this machine only)")
    parser.add_argument("--port", type=int, default=7860, help="port to answer on, 0 for any that is free (7860)")
    parser.add_argument("--max-upload-mb", type=float, default=20.0, help="largest file that is accepted, in MB (20)")
    parser.add_argument("--max-pixels", type=int, default=25_000_000, help="largest image accepted (25000000)")
    parser.add_argument("--sessions", type=int, default=16, help="images held in memory at once (16)")
    parser.add_argument(
        "--idle-minutes", type=float, default=30.0, help="forget an image that was unused for this long"
    )
    parser.add_argument("--browser", action="store_true", help="open the page in the browser of this machine")
    parser.add_argument(
        "--static",
        metavar="DIR",
        help="write DIR, a page with the exported model inside, which runs in the browser, and serve it; any web "
        "server can. A DIR that is there already is served as it is. --device, limits and sessions do not apply",
    )
    parser.add_argument(
        "--runtime",
        metavar="DIR",
        help="with --static: the folder dist of onnxruntime-web (default: fetched once with npm)",
    )


def run(args: argparse.Namespace) -> None:
    """Load the model, then answer until interrupted."""
    from sam_hq_numpy.number_limits import check_number

    if not 0 <= args.port <= 65535:
        raise ValueError(f"--port must be from 0 to 65535, got {args.port}")
    check_number("--max-upload-mb", args.max_upload_mb, above=0)
    if args.runtime and not args.static:
        raise ValueError("--runtime is for a page with the model inside: name one with --static DIR")
    for photo in args.photos:
        if not Path(photo).is_file():
            kind = "is a folder; name images in it" if Path(photo).is_dir() else "is no image: there is no such file"
            raise ValueError(f"PHOTO {photo!r} {kind}")
    if args.static:
        from sam_hq_cli.static_demo import run_static

        run_static(args)
        return
    check_web_libraries()
    from sam_hq.demo.demo_service import DemoService
    from sam_hq.demo.opened_photo import PhotoLimits
    from sam_hq.demo.server import build_app
    from sam_hq.demo.session_store import SessionStore

    limits = PhotoLimits(round(args.max_upload_mb * 1e6), args.max_pixels)
    store = SessionStore(args.sessions, 60 * args.idle_minutes)
    examples = [(Path(photo).name, Path(photo).read_bytes()) for photo in args.photos]
    name = model_name(args.model)
    with listening_socket(args.host, args.port) as listener:
        model, processor = load_whole(name, chosen_device(args.device))
        # The page gets the last part of the name only: the directory's path stays private.
        service = DemoService(model, processor, Path(name).name, limits, store, examples)
        if args.host not in LOOPBACK:
            print(f"sam-hq: warning: whoever can reach {args.host} can use this server", file=sys.stderr)
        print(f"model    {name}, {model.device}")
        app = build_app(service) if args.host in LOOPBACK else build_app(service, allowed_hosts=None)
        serve(app, listener, args.host, args.browser)
