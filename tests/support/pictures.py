"""Pictures of what a host shows, light and dark, as a browser draws them: `python -m tests.support.pictures FOLDER`.

Takes the names of tests/support/console_examples.py, all those in PICTURES by default; gives PNG files. They are for
the README, and for whoever changes a report to look at. It needs npm, Node and Chromium, which no part of the program
does; pngquant makes the files a third as large where it is installed. scripts/pictures runs it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.console_examples import EXAMPLES

PICTURES = ("everything", "many", "outcome-that-moved", "drift")
THEMES = ("light", "dark")
WIDTH = 860
"""Pixels: a comment on GitHub, in a window of usual width."""

_PACKAGES = ("marked@18.2.1", "marked-alert@2.1.2", "github-markdown-css@5.9.0")
_DRAW = Path(__file__).with_name("draw_comment.mjs")
_TALL = 8_000
_FRAME = 24


def main(folder: Path, names: list[str]) -> None:
    """Draw the examples with these names into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(work), *_PACKAGES]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
        shutil.copy(_DRAW, work)
        for name in names or PICTURES:
            for theme in THEMES:
                page = work / f"{name}-{theme}.html"
                draw = ["node", str(work / _DRAW.name), theme]
                with page.open("wb") as drawn:
                    subprocess.run(draw, input=EXAMPLES[name]().encode(), stdout=drawn, check=True)
                picture = folder / f"{name}-{theme}.png"
                photograph(page, picture, work / "browser")
                shrink(picture)
                print(f"{picture}: {picture.stat().st_size:,} bytes")


def photograph(page: Path, picture: Path, profile: Path) -> None:
    """Draw the page as high as it is. The browser says how high that is, in a first look at it."""
    measure = page.with_name(f"measure-{page.name}")
    script = "<script>document.title = document.querySelector('article').offsetHeight</script>"
    measure.write_text(page.read_text(encoding="utf-8") + script, encoding="utf-8")
    seen = _browse(profile, f"--window-size={WIDTH},{_TALL}", "--dump-dom", measure.as_uri())
    found = re.search(r"<title>(\d+)</title>", seen)
    if found is None:
        raise SystemExit(f"Chromium did not say how high {page.name} is")
    height = int(found[1]) + _FRAME
    _browse(profile, f"--window-size={WIDTH},{height}", f"--screenshot={picture.resolve()}", page.as_uri())


def shrink(picture: Path) -> None:
    """Fewer colours: flat pages need few."""
    if shutil.which("pngquant"):
        subprocess.run(["pngquant", "--force", "--strip", "--ext", ".png", "64", str(picture)], check=True)


def _browse(profile: Path, *arguments: str) -> str:
    program = shutil.which("chromium") or shutil.which("google-chrome") or "chromium-browser"
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars")
    command = [program, *flags, f"--user-data-dir={profile}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit("usage: python -m tests.support.pictures FOLDER [NAME ...]")
    main(Path(sys.argv[1]), sys.argv[2:])
