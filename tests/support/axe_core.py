"""axe-core, which finds what keeps people from using a page: one pinned version, fetched once with npm."""

import hashlib
from pathlib import Path

from sam_hq.demo.browser_runtime import cache_folder, npm_archive
from sam_hq_numpy.atomic_writing import new_file

PACKAGE, VERSION, FILE = "axe-core", "4.14.1", "axe.min.js"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
RUN = """async () => {
    const { violations, passes } = await axe.run();
    const found = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    return { passed: passes.length, found: found.flatMap(({ id, nodes }) => nodes.map((node) => [id, node.html])) };
}"""


def axe_file() -> Path:
    """Where the script is; it is fetched if it is not on this machine."""
    path = cache_folder().parent / f"{PACKAGE}-{VERSION}" / FILE
    if not path.is_file():
        with npm_archive(PACKAGE, VERSION) as archive, new_file(path) as aside:
            aside.write_bytes(archive.extractfile(f"package/{FILE}").read())
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256, f"{path} is not the file of {PACKAGE} {VERSION}"
    return path


def serious_faults(page) -> list[list[str]]:
    """What axe calls serious or critical on a page as it is now: the rule and the element of each."""
    page.evaluate(axe_file().read_text(encoding="utf-8"))
    told = page.evaluate(RUN)
    assert told["passed"] > 10  # it has looked
    return told["found"]


if __name__ == "__main__":
    print(axe_file())
