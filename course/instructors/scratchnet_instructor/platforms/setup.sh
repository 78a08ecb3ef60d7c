#!/usr/bin/env bash
# Gradescope runs this once, as root, to build the container in which it grades.
set -euo pipefail
root=${AUTOGRADER:-/autograder}

if ! { command -v bwrap && python3 -m ensurepip --version; } > /dev/null 2>&1; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-pip python3-venv bubblewrap
fi

# The course needs Python 3.11; older images get one that everybody may read.
if python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  python3 -m venv "$root/venv"
else
  python3 -m pip install --quiet uv
  UV_PYTHON_INSTALL_DIR=/opt/python python3 -m uv venv --seed --python 3.12 "$root/venv"
fi
"$root/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$root"/source/wheels/*.whl

# Submissions run as another account where bubblewrap does not work: it must not read the solutions.
here=$("$root/venv/bin/python" -c 'import pathlib, scratchnet_instructor as s; print(pathlib.Path(s.__file__).parent)')
chmod -R go= "$here" "$root/source"
