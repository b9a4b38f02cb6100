"""The tables of docs/benchmarks.md."""

from pathlib import Path
from typing import Any

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


def write_report(report: dict[str, Any], page: Path) -> None:
    """Put the tables of a run between the marks of the page.

    Args:
        report: What `bench.py` measured.
        page: The Markdown file.
    """
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{table(report)}\n{END}{after}")


def table(report: dict[str, Any]) -> str:
    """One run as Markdown."""
    machine, versions = report["machine"], report["versions"]
    lines = [
        f"{machine['threads']} threads ({machine['processor']}), fp32; matrix rate "
        f"{machine['gigamacs_per_second']} GMAC/s, which makes the floor of the ViT-B embedding "
        f"{machine['embedding_floor_seconds']} s; Python {versions['python']}, torch {versions['torch']}, transformers "
        f"{versions['transformers']}; medians of {report['repeats']}, taking turns (generation: one each).",
        "",
        "| case | who | seconds | times ours | peak memory growth, MB | largest difference to ours |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['case']} | {row['who']} | {row['seconds']} | {row['ratio']} | {row['peak_megabytes']} | "
        f"{row['difference']:.1e} |"
        for row in report["results"]
    ]
    return "\n".join(lines)
