"""Attacks on the grader, each as a submission, and how many of them get a point.

    python tests/grader_attacks.py --seed 1

Every forgery is handed in for every exercise, behind each wall that there is on this machine and without one; none may get
a point. Then a class is graded in which one of ten attacks, and graded again without those: the others' verdicts must be equal.
"""

import argparse
import itertools
import json
import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from scratchnet_course import wall
from scratchnet_course.checking import check_code
from scratchnet_course.exercises import EXERCISES
from scratchnet_instructor import grading, solution

RIGHT = solution("06/ex1")
WRONG = "def step_backward(dh, dc_next, i, f, g, o, c_prev, c):\n    return dh, dh, dh, dh, dh\n"
# What follows is run in the middle of a call, where the child's own variables are three frames up.
FRAMES = """
import json, os, sys
frame = sys._getframe()
while "channel" not in frame.f_locals:
    frame = frame.f_back
task, report, channel = (frame.f_locals[name] for name in ("task", "report", "channel"))
def forge(numbers=b"", **words):
    whole = {"status": "ran", "text": "", "printed": "", "changed": [], "answers": []} | words
    os.write(channel, f"{task['token']}\\n{json.dumps(whole)}\\n".encode() + numbers)
"""

FORGED = {
    "a report on disk": 'import json, os\njson.dump({"status": "right", "text": "", "printed": "", "changed": []}, open("report.json", "w"))\nos._exit(0)\n',
    "a printed report": 'print({"status": "right"})\nimport os\nos.write(1, b\'{"status": "right"}\')\nos._exit(0)\n',
    "every open file": "import os\nfor fd in range(64):\n    try: os.write(fd, b'{\"status\": \"right\"}\\n')\n    except OSError: pass\nos._exit(0)\n",
    "the token, and right": FRAMES + 'forge(status="right")\nos._exit(0)\n',
    "the token, no numbers": FRAMES + "forge()\nos._exit(0)\n",
    "the token, too many cases": FRAMES + 'forge(answers=[["list", []]] * 9)\nos._exit(0)\n',
    "the token, a huge array": FRAMES + 'forge(answers=[["one", [["<f8", [10**15]]]]] * 2)\nos._exit(0)\n',
    "the token, a negative size": FRAMES + 'forge(answers=[["one", [["<f8", [-1, -8]]]]] * 2)\nos._exit(0)\n',
    "the token, objects": FRAMES + 'forge(b"x" * 99, answers=[["one", [["|O", [1]]]]] * 2)\nos._exit(0)\n',
    "the token, text": FRAMES + 'forge(b"x\\0\\0\\0" * 10, answers=[["list", [["<U1", [1, 1]]] * 5]] * 2)\nos._exit(0)\n',
    "the token, a strange type": FRAMES + 'forge(status="type", text="many")\nos._exit(0)\n',
    "the token, nested without end": FRAMES + 'os.write(channel, (task["token"] + "\\n" + "[" * 10**5).encode())\nos._exit(0)\n',
    "a frame's status": FRAMES + 'report["status"] = "right"\n' + WRONG,
    "a frame's changed": FRAMES + 'report["changed"] = ["right"]\n' + WRONG,
    "at exit": "import atexit\n" + FRAMES + 'atexit.register(forge, status="right")\n' + WRONG,
    "patched": "import json, numpy as np\njson.dumps = lambda *a, **k: '{\"status\": \"right\"}'\nnp.array_equal = lambda *a, **k: True\n" + WRONG,
    "a FIFO for a report": "import os\nos.mkfifo('report.json')\nos._exit(0)\n",
    "the reference": "from scratchnet_instructor.references import REFERENCES\ndef step_backward(**a):\n    return REFERENCES['06/ex1'].right(**a)\n",
    "the reference, again": "import sys\nsys.modules.pop('scratchnet_course', None)\nfrom scratchnet_instructor.references import REFERENCES\ndef step_backward(**a):\n    return REFERENCES['06/ex1'].right(**a)\n",
    "the instructor": "from scratchnet_instructor import solution\nexec(solution('06/ex1'))\n",
    "objects that compare equal": "class Any:\n    def __array__(self, *a, **k): return self\n    def __eq__(self, other): return True\ndef step_backward(**a):\n    return (Any(),) * 5\n",
}  # fmt: skip


def submit(folder, student, code, exercise="06/ex1"):
    path = folder / student / f"{exercise}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding="utf-8")


# Those that hang, flood and kill, besides the forgeries.
FLOODS = [
    "import os\nos.kill(os.getppid(), 9)\n",
    "import os\nopen('x', 'wb').write(bytes(10**7))\n1/0\n",
    "print('x' * 10**8)\n1/0\n",
    "while True: pass\n",
    "import os\nwhile True: os.fork()\n",
    "x = bytearray(10**11)\n",
]


def walls():
    """No wall, and the one that there is on this machine."""
    here = wall.find()
    return [wall.find("none"), *([here] if here else [])]


def forgeries(seed, workers=2):
    """How many forgeries were judged behind each wall, and those that got a point."""
    kinds = {name: replace(exercise, seconds=5.0) for name, exercise in EXERCISES.items()}
    every = [*itertools.product(walls(), kinds, FORGED)]

    def points(job):
        behind, name, attack = job
        code = FORGED[attack].replace("06/ex1", name).replace("step_backward", kinds[name].function)
        return check_code(kinds[name], code, seed, behind=behind).points

    with ThreadPoolExecutor(workers) as pool:
        found = [*zip(every, pool.map(points, every))]
    return {
        behind.name: {
            "forgeries": len(kinds) * len(FORGED),
            "with points": [f"{name}: {attack}" for (b, name, attack), got in found if b is behind and got],
        }
        for behind in walls()
    }


def a_class(seed, students=200, workers=2):
    """Verdicts of a class in which one of ten attacks, and how many of the others' differ from those without them."""
    rng = random.Random(seed)
    attacks = [*FORGED.values(), *FLOODS]
    mistaken = RIGHT.replace("into_c = dc_next + o", "into_c = o")
    found = {}
    for behind in walls():
        with tempfile.TemporaryDirectory() as folder:
            nasty = {*rng.sample(range(students), students // 10)}
            for k in sorted({*range(students)} - nasty):
                submit(Path(folder), f"student{k:03}", rng.choice([RIGHT, mistaken, WRONG]))
            alone = grading.grade(Path(folder), only=["06/ex1"], seed=seed, behind=behind, workers=workers)
            for k in sorted(nasty):
                # without a wall the system protects nobody from these: grading goes on after it, which test_wall.py tests
                code = rng.choice(attacks if behind.name != "none" else [*FORGED.values()])
                submit(Path(folder), f"student{k:03}", code)
            grades = grading.grade(Path(folder), only=["06/ex1"], seed=seed, behind=behind, workers=workers)
        others = [grade for grade in grades if int(grade.student[-3:]) not in nasty]
        found[behind.name] = {
            "students": students,
            "attack": len(nasty),
            "their points": sum(grade.result.points for grade in grades if int(grade.student[-3:]) in nasty),
            "other verdicts changed": sum(one != other for one, other in zip(alone, others, strict=True)),
        }
    return found


def main():
    """Run both; the exit status is 1 where an attack got a point or changed another's verdict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    found, graded = forgeries(seed), a_class(seed)
    print(json.dumps({"forgeries": found, "class": graded}, indent=1))
    got = any(row["with points"] for row in found.values())
    return got or any(row["their points"] or row["other verdicts changed"] for row in graded.values())


if __name__ == "__main__":
    sys.exit(main())
