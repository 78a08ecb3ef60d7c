# Two commands do all the set-up: `make demo` runs the main job, `make test` everything that is checked.
# Only Python >= 3.11 is needed; on Windows, README.md has the same commands without make.

PYTHON ?= python3
# One more package index, only if it is given: README says which one has PyTorch without CUDA.
TORCH_INDEX ?=
# What `make test` installs besides library and course; test,ptx also compiles the CUDA kernels, without a GPU.
EXTRAS ?= test
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all test-slow test-blas coverage mutation lint bench bench-random bench-others recipes course gpu clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	$(BIN)/scratchnet demo

test: $(VENV)/installed-test lint
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder  # a file stays in one process, which then runs its demo once

# What computes and compares numbers, with OpenBLAS's kernels for older processors: they round differently.
NUMERICAL := $(patsubst %,tests/test_%.py,bptt cells clip device engines fused_update gradcheck init layer_table layers losses \
	models new_cells new_layers optim parity schedule sequence_cpu sequence_threads trace vector)
test-blas: $(VENV)/installed-test
	for core in Haswell Nehalem; do OPENBLAS_CORETYPE=$$core $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(NUMERICAL) || exit 1; done

# All of it, with the tests that are marked slow: before an issue is resolved.
test-all: test test-slow test-blas coverage mutation

test-slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -n auto -m slow

# Which lines and branches of the core the tests run: a table, and a failure under 95% (pyproject.toml says of which files).
# Measuring takes time, so the tests that look at the clock are left out.
COVERING := $(patsubst %,tests/test_%.py,arguments bptt callbacks cells checkpoint clip edge elementwise engines fused_update \
	layer_table layers long losses machine_code memory new_cells new_layers optim padding parity plots sequence_cpu \
	sequence_memory sequence_threads trace trust vector)
coverage: $(VENV)/installed-test
	rm -rf out/coverage
	$(BIN)/python -m coverage run -m pytest -n auto --dist loadfile --no-loadscope-reorder -k 'not in_seconds' $(COVERING)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# Small mistakes planted in the library, one after the other, each of which its tests must notice; tests/mutation/README.md.
SAMPLE ?= 200
SEED ?= 0
mutation: $(VENV)/installed-test
	$(BIN)/python tests/mutation/run.py --sample $(SAMPLE) --seed $(SEED)

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-test: pyproject.toml course/students/pyproject.toml course/instructors/pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) )\
		--editable '.[$(EXTRAS)]' --editable ./course/students --editable ./course/instructors
	touch $@ $(VENV)/installed

# Forty seconds for every cell and engine, then six minutes beside PyTorch, and the table in README.md.
bench: $(VENV)/installed-test
	$(BIN)/python benchmarks/cells.py
	env -u OPENBLAS_CORETYPE PYTHONPATH=.:kernels $(BIN)/python benchmarks/parts.py
	$(BIN)/python benchmarks/cpu.py
	$(BIN)/python benchmarks/cpu.py --table

# Sixty sizes drawn at random, every cell, beside PyTorch: twenty-five minutes on an idle machine, and the tables in docs/speed.md.
bench-random: $(VENV)/installed-test
	$(BIN)/python benchmarks/random_sizes.py
	$(BIN)/python benchmarks/random_sizes.py --cells lstm --busy 1
	$(BIN)/python benchmarks/random_sizes.py --table

# The same work in PyTorch, torch.compile, Keras, JAX and onnxruntime, some minutes; they get an environment of their own.
OTHERS := .venv-others
bench-others: $(OTHERS)/installed
	$(OTHERS)/bin/python benchmarks/others.py
	$(OTHERS)/bin/python benchmarks/others.py --table

$(OTHERS)/installed: pyproject.toml Makefile
	$(PYTHON) -m venv $(OTHERS)
	$(OTHERS)/bin/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) )\
		--editable '.[numba,torch]' keras jax optax onnx onnxruntime
	touch $@

# Every recipe with three seeds, about twenty minutes, and the table in tutorials/recipes/README.md.
recipes: $(VENV)/installed-test
	PYTHONPATH=.:kernels $(BIN)/python tutorials/recipes/all.py

# From the lessons in tutorials/: wheels in out/wheels; then every lesson is run: out/book is for all, out/notebooks has the solutions.
course: $(VENV)/installed-test
	rm -rf build course/*/build out/wheels
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir out/wheels . ./course/students ./course/instructors
	PYTHONPATH=.:kernels $(BIN)/python tutorials/build.py --book

# On a machine with a GPU and its packages: nothing is installed, nothing is fetched.  Parts with time limits (benchmarks/gpu_parts.py
# says which), each a process that writes to OUT while it runs.  WHAT: first and second, ten minutes each, or names of parts.
OUT ?= out/gpu
WHAT ?= first second
gpu:
	@PYTHONPATH=.:kernels $(PYTHON) benchmarks/gpu_parts.py --out '$(OUT)' --commit "$$(git rev-parse HEAD 2> /dev/null || echo unknown)" $(WHAT)

clean:
	rm -rf $(VENV) $(OTHERS) out build course/*/build *.egg-info course/*/*.egg-info
	rm -rf course/students/scratchnet_course/material course/students/scratchnet_course/answers course/instructors/scratchnet_instructor/solutions
	rm -rf .pytest_cache .hypothesis .mypy_cache .ruff_cache
