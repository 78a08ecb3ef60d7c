"""Build the course from the lessons in this folder: student files, solutions, and a book.

    python tutorials/build.py            student files and solutions, into folders that git ignores
    python tutorials/build.py --book     also run every lesson: out/book, pages to publish, and
                                         out/notebooks, which have the solutions and their output

One source: a lesson is a percent script with its solutions in it. scratchnet_course.lessons cuts
it, here and in the setup.py of both distributions.
"""

import argparse
import html
import os
import re
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import scratchnet_instructor
from scratchnet_course import command, lessons

HERE = Path(__file__).parent
ROOT = HERE.parent


# ---- the book ----------------------------------------------------------------------------------


def executed(source: Path, folder: Path) -> Any:
    """The lesson with its solutions, run as a notebook in ``folder``."""
    import nbformat
    from nbclient import NotebookClient

    parts = lessons.teacher(lessons.cells(source.read_text(encoding="utf-8")))
    made = nbformat.reads(lessons.notebook(parts), as_version=4)
    paths = [ROOT, ROOT / "kernels", ROOT / "course" / "students"]
    os.environ["PYTHONPATH"] = os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")])
    started = time.perf_counter()
    NotebookClient(
        made, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    print(f"{source.stem}: {time.perf_counter() - started:.0f} s", flush=True)
    return made


def book(out: Path, notebooks: Path, only: list[str]) -> None:
    """Run every lesson, and write pages without solutions, and apart from them notebooks with."""
    for folder in (out, notebooks):
        folder.mkdir(parents=True, exist_ok=True)
    pages = [page for page in lessons.sources(HERE) if not only or page.stem[:2] in only]
    titles = {s.stem: lessons.title(lessons.cells(s.read_text(encoding="utf-8"))) for s in pages}
    import nbformat

    for source in pages:
        with TemporaryDirectory() as folder:
            made = executed(source, Path(folder))
        (notebooks / f"{source.stem}.ipynb").write_text(nbformat.writes(made), encoding="utf-8")
        original = lessons.cells(source.read_text(encoding="utf-8"))
        (out / f"{source.stem}.html").write_text(
            page(source.stem, titles, made, original), encoding="utf-8"
        )
    links = "\n".join(
        f'<li><a href="{stem}.html">{html.escape(title)}</a></li>' for stem, title in titles.items()
    )
    about = (
        "<p>Lessons to step through, one for each derivation. Each was run when its page was"
        " made.</p>"
    )
    body = f'<h1>Recurrent networks by hand</h1>{about}<ul class="contents">{links}</ul>'
    (out / "index.html").write_text(frame("Recurrent networks by hand", body, ""), encoding="utf-8")
    print(out / "index.html")


def page(stem: str, titles: dict[str, str], made: Any, original: list[lessons.NotebookCell]) -> str:
    """One lesson's page: text, code, output.  Exercises are shown as their stubs."""
    from markdown_it import MarkdownIt

    render = MarkdownIt("commonmark").enable("table").render
    parts = []
    for cell, source in zip(made.cells, original):
        if cell.cell_type == "markdown":
            parts.append(f'<section class="text">{render(cell.source)}</section>')
            continue
        text = (
            cell.source if source.exercise is None else lessons.stub(source.text, source.exercise)
        )
        text = "\n".join(line for line in text.splitlines() if "%matplotlib" not in line).strip(
            "\n"
        )
        parts.append(f'<div class="code">{coloured(text)}</div>')
        shown = (
            ""
            if source.exercise or re.search(r"\bcheck\(\"\d\d/ex", text)
            else "".join(map(output, cell.outputs))
        )
        if shown:
            parts.append(f'<div class="output">{shown}</div>')
    stems = list(titles)
    at = stems.index(stem)
    before, after = (
        link(titles, stems[k] if 0 <= k < len(stems) else None) for k in (at - 1, at + 1)
    )
    turn = f'<nav class="turn">{before}<a href="index.html">contents</a>{after}</nav>'
    return frame(titles[stem], "\n".join(parts), turn)


def link(titles: dict[str, str], stem: str | None) -> str:
    """The way to another lesson; an empty place where there is none."""
    return (
        "<span></span>"
        if stem is None
        else f'<a href="{stem}.html">{html.escape(titles[stem])}</a>'
    )


def coloured(text: str) -> str:
    """Python source with its colours."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return str(highlight(text, PythonLexer(), HtmlFormatter(nowrap=False)))


def output(part: Any) -> str:
    """One output of a cell: a picture, or text. Messages of the machine it was run on are left
    out."""
    if part.output_type == "stream":
        lines = [
            line for line in part.text.splitlines() if not line.startswith("scratchnet: compiling")
        ]
        return f"<pre>{html.escape(chr(10).join(lines))}</pre>" if lines else ""
    if part.output_type == "error":
        return f"<pre>{html.escape(part.ename)}: {html.escape(part.evalue)}</pre>"
    data = part.get("data", {})
    if "image/png" in data:
        return f'<img alt="figure" src="data:image/png;base64,{data["image/png"].strip()}">'
    return f"<pre>{html.escape(data['text/plain'])}</pre>" if "text/plain" in data else ""


def frame(title: str, body: str, turn: str) -> str:
    """A whole page, with its style inside."""
    from pygments.formatters import HtmlFormatter

    light, dark = (
        HtmlFormatter(style=style).get_style_defs(".highlight")
        for style in ("default", "github-dark")
    )
    style = (HERE / "book.css").read_text(encoding="utf-8")
    night = f"@media (prefers-color-scheme: dark) {{{dark}}}"
    head = f"<title>{html.escape(title)}</title><style>{light}\n{night}\n{style}</style>"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{head}</head>'
        f"<body>{turn}<main>{body}</main>{turn}</body></html>\n"
    )


def main() -> None:
    """Build what students and instructors get; with --book, run every lesson and write the rest."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--book", action="store_true", help="run every lesson; book and notebooks into --out"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NN", help="with --book: these lessons alone"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "out")
    chosen = parser.parse_args()
    for folder in (command.material(), scratchnet_instructor.solutions()):
        print(folder)
    if chosen.book:
        book(chosen.out / "book", chosen.out / "notebooks", chosen.only)


if __name__ == "__main__":
    main()
