"""The tables of docs/benchmarks.md."""

from pathlib import Path
from typing import Any


def replace_between(mark: str, text: str, page: Path) -> None:
    """Put text between the marks `<!-- mark: begin -->` and `<!-- mark: end -->` of a page.

    Args:
        mark: Which part of the page.
        text: What goes there.
        page: The Markdown file.
    """
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} has no part between {begin} and {end}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def table(report: dict[str, Any]) -> str:
    """One run of bench.py as Markdown."""
    machine, versions = report["machine"], report["versions"]
    lines = [
        f"{machine['threads']} threads ({machine['processor']}), fp32; matrix rate "
        f"{machine['gigamacs_per_second']} GMAC/s, which makes the floor of the ViT-B embedding "
        f"{machine['embedding_floor_seconds']} s; Python {versions['python']}, torch {versions['torch']}, transformers "
        f"{versions['transformers']}; medians of {report['repeats']}, taking turns (generation: one each).",
        "",
        "| case | who | seconds | times ours | kernel CPU, s | peak memory growth, MB | largest difference to ours |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['case']} | {row['who']} | {row['seconds']} | {row['ratio']} | "
        f"{row.get('kernel_seconds', '')} | {row['peak_megabytes']} | {row['difference']:.1e} |"
        for row in report["results"]
    ]
    return "\n".join(lines)


def gpu_table(report: dict[str, Any]) -> str:
    """One run of gpu.py as Markdown."""
    versions = report["versions"]
    lines = [
        f"{report['machine']}; Python {versions['python']}, torch {versions['torch']}, transformers "
        f"{versions['transformers']}; medians of {report['repeats']}, taking turns (generation: one each); torch's "
        "defaults, which are TF32 in convolutions and not in matrix products.",
        "",
        "| case | dtype | who | milliseconds | times ours | peak device memory, MB | largest difference to ours |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['case']} | {row['dtype']} | {row['who']} | {row['milliseconds']} | {row['ratio']} | "
        f"{row['megabytes']} | {row['difference']:.1e} |"
        for row in report["rows"]
    ]
    return "\n".join(lines)


def deployment_table(report: dict[str, Any]) -> str:
    """One run of deployment.py as Markdown."""
    versions = report["versions"]
    lines = [
        f"{report['threads']} threads ({report['processor']}); Python {versions['python']}, torch {versions['torch']}, "
        f"transformers {versions['transformers']}, onnxruntime {versions['onnxruntime']}; medians, taking turns.",
        "",
        "| model | who | encoder, s | decoder, one box, s | encoder file, MB | mIoU | mBIoU | against |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in report["rows"]:
        size = "" if row["megabytes"] is None else row["megabytes"]
        quality = row["quality"] or {"mIoU": "", "mBIoU": ""}
        lines.append(
            f"| {row['model']} | {row['who']} | {row['encoder']} | {row.get('decoder', '')} | {size} | "
            f"{quality['mIoU']} | {quality['mBIoU']} | {row['against']} |"
        )
    return "\n".join([*lines, "", *_fastest(report["rows"])])


def _fastest(rows: list[dict[str, Any]]) -> list[str]:
    """Which path is the faster one, in a sentence for each model."""
    sentences = []
    for model in dict.fromkeys(row["model"] for row in rows):
        parts = []
        for part in ("encoder", "decoder"):
            exact = sorted(
                (row[part], row["who"]) for row in rows if row["model"] == model and row["who"].endswith("fp32")
            )
            (seconds, who), (slower, other) = exact
            parts.append(f"the {part} of {who} is {slower / seconds:.1f} times as fast as that of {other}")
        repeats = next(row["repeats"] for row in rows if row["model"] == model)
        sentences.append(f"* {model}, medians of {repeats}, fp32: {'; '.join(parts)}.")
    return sentences
