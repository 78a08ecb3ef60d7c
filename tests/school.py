"""A made-up class, and what it hands in, as learning platforms export it.

python tests/school.py --students 40 --for canvas --out submissions
"""

import argparse
import io
import json
import random
import zipfile
from pathlib import Path
from typing import NamedTuple

from scratchnet_course.command import material

STRANGERS = Path(__file__).parent / "strangers"
FIRST = (
    "Ada",
    "Bo",
    "Chi",
    "Dana",
    "Efe",
    "Finn",
    "Gül",
    "Hana",
    "Ivo",
    "Jun",
    "Kofi",
    "Lea",
    "Mio",
    "Nils",
    "Olu",
    "Pia",
    "Quinn",
    "Rosa",
    "Sven",
    "Tao",
)
LAST = ("Lovelace", "O'Brien", "Ñandú", "Çelik", "von-Neumann", "Ångström", "Li", "Okafor", "Petrov", "Singh")


class Person(NamedTuple):
    """A student and their answers."""

    name: str
    number: int
    answers: dict[str, str]  # exercise -> code; one that is not there was not handed in


def people(count: int, lesson: str = "06", seed: int = 1) -> list[Person]:
    """A class that answers as strangers did; one in ten leaves an exercise out, and the last copies the first, with
    other names."""
    chance = random.Random(seed)
    rows = json.loads((STRANGERS / f"lesson{lesson}.json").read_text(encoding="utf-8"))
    names = sorted({row["exercise"] for row in rows})
    found = []
    for number in range(count):
        name = f"{FIRST[number % len(FIRST)]} {LAST[(number // len(FIRST) + number) % len(LAST)]}"
        own = {}
        for exercise in names:
            right = chance.random() < 0.5
            of = [row for row in rows if row["exercise"] == exercise and (row["truth"] == "right") == right]
            if chance.random() < 0.9:
                own[exercise] = chance.choice(of)["code"]
        found.append(Person(name, 10_000 + 37 * number, own))
    copied = {k: code.replace("dc", "d_cell").replace("# ", "#  ") for k, code in found[0].answers.items()}
    found[-1] = found[-1]._replace(answers=copied if count > 1 else found[-1].answers)
    return found


def notebook(person: Person, lesson: str = "06") -> str:
    """The lesson's notebook with the student's answers in its cells."""
    (path,) = material().joinpath(lesson).glob(f"{lesson}_*.ipynb")
    whole = json.loads(path.read_text(encoding="utf-8"))
    for cell in whole["cells"]:
        exercise = "".join(cell["source"][:1]).removeprefix("# exercise ").strip()
        if exercise in person.answers:
            cell["source"] = person.answers[exercise].splitlines(keepends=True)
    return json.dumps(whole)


def files(person: Person, number: int, lesson: str = "06") -> dict[str, bytes]:
    """What a person uploads: eight ways, in turn."""
    own = {k.partition("/")[2]: code.encode() for k, code in person.answers.items()}
    ways = [
        {f"{k}.py": code for k, code in own.items()},
        {f"{lesson}/{k}.py": code for k, code in own.items()},
        {f"{k.replace('ex', 'Ex')} (1).py": code for k, code in own.items()},
        {f"{lesson}_lstm.ipynb": notebook(person, lesson).encode()},
        {f"my homework/lesson {int(lesson)}/final/{k}.py": code for k, code in own.items()},
        {f"exercise_{k[2:]}.py": code for k, code in own.items()} | {"notes.pdf": b"%PDF-1.4"},
        {f"task{k[2:]}-solution.py": code for k, code in own.items()},
        {"homework.zip": zipped({f"homework/{k}.py": code for k, code in own.items()})},
    ]
    return ways[number % len(ways)]


def zipped(content: dict[str, bytes]) -> bytes:
    """An archive of files."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return whole.getvalue()


def export(layout: str, whole: list[Person], out: Path) -> dict[str, Person]:
    """Write what a platform would export, flat ones as a zip; returns what each student is called in it."""
    content: dict[str, bytes] = {}
    called: dict[str, Person] = {}
    metadata = []
    for number, person in enumerate(whole):
        own = files(person, number)
        compact = "".join(c for c in "".join(reversed(person.name.lower().split())) if c.isalnum())
        if layout == "gradescope":
            called[str(person.number)] = person
            folder = f"assignment_77_export/submission_{500 + number}"
            metadata.append(
                f"submission_{500 + number}:\n  :submitters:\n  - :name: {json.dumps(person.name, ensure_ascii=False)}\n"
                f"    :sid: '{person.number}'\n    :email: s{person.number}@example.org\n"
                f"  :created_at: 2026-11-{20 + number % 3} 21:5{number % 10}:30.123456000 Z\n  :score: 0.0\n"
            )
            content |= {f"{folder}/{k}": v for k, v in own.items()}
        elif layout == "canvas":  # a flat folder: an upload in folders is an archive
            called[f"{compact}_{person.number}"] = person
            late = "LATE_" if number % 3 == 2 else ""
            own = own if not any("/" in k for k in own) else {"work.zip": zipped(own)}
            content |= {f"{compact}_{late}{person.number}_{9000 + number}_{k}": v for k, v in own.items()}
        elif layout == "moodle":
            called[f"{person.name}_{person.number}"] = person
            content |= {f"{person.name}_{person.number}_assignsubmission_file/{k}": v for k, v in own.items()}
        elif layout == "nbgrader":
            called[str(person.number)] = person
            stamp = {"timestamp.txt": f"2026-11-{20 + number % 3} 21:5{number % 10}:30.123456 UTC".encode()}
            content |= {f"submitted/{person.number}/lesson06/{k}": v for k, v in (own | stamp).items()}
        else:
            called[person.name] = person
            content |= {f"{person.name}/{k}": v for k, v in own.items()}
    if layout == "gradescope":
        content["assignment_77_export/submission_metadata.yml"] = ("---\n" + "".join(metadata)).encode()
    if layout == "canvas":
        out.with_suffix(".zip").write_bytes(zipped(content))
        return called
    for name, data in content.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return called


def main() -> None:
    """The program."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--students", type=int, default=40)
    options.add_argument("--for", dest="layout", default="folder")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--out", type=Path, default=Path("submissions"))
    chosen = options.parse_args()
    export(chosen.layout, people(chosen.students, seed=chosen.seed), chosen.out)


if __name__ == "__main__":
    main()
