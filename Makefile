# make demo: set up, train, audit, and write runs/demo/report.html.
# make test: set up and run the tests.

PYTHON ?= python3
VENV := .venv
FLOWER := .venv-flower
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
CONSTRAINTS := constraints.txt
# Networks that other people wrote, for tests. They name torchvision, which does not load beside a CPU build of torch.
FOREIGN := pytorchcv==0.0.74 vit-pytorch==1.26.11
# What pytest is told besides: two processes that take whole files, whose fixtures are made once; tell the slowest tests.
PYTEST ?= -n 2 --dist loadfile --durations=15

.PHONY: help demo test test-flower docs lint format bench notebook clean

help:
	@sed -n 's/^# make/make/p' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/installed
	$(VENV)/bin/unsplit audit --cuts 1,4 --presets joint,strong-quick --label-heads 1 --label-steps 300 --u-shape 1:1 --out runs/demo

test: $(VENV)/installed-test
	$(VENV)/bin/python -m pytest -m "not full" $(PYTEST)

# make test-flower: set up Flower, which pins older versions, in an environment of its own, and run its tests.
test-flower: $(FLOWER)/installed
	$(FLOWER)/bin/python -m pytest tests/flower tests/protocol/test_loops.py -k flower

# make docs: the documentation as a site, in site/.
docs: .venv-docs/installed
	.venv-docs/bin/python -m pytest -q -p no:cacheprovider tests/docs/test_site.py -k "not tutorial"
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet --site-dir site

# make lint: style, types and import layers.
lint: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# make format: put the code into the house style.
format: $(VENV)/installed-dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# make bench: measure speed and memory into benchmarks/results (a quarter of an hour).
bench: $(VENV)/installed-test
	for name in protocol attack recording; do $(VENV)/bin/python benchmarks/$$name.py || exit 1; done

# make clean: remove the environment; runs are kept.
clean:
	rm -rf $(VENV) $(FLOWER) .venv-docs site

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml $(CONSTRAINTS) hatch_build.py src/unsplit/protocol/remote/wire.proto | $(VENV)/bin/python
	$(PIP) install -c $(CONSTRAINTS) -e .
	@touch $@

$(FLOWER)/installed: pyproject.toml hatch_build.py src/unsplit/protocol/remote/wire.proto constraints-flower.txt
	$(PYTHON) -m venv $(FLOWER)
	$(FLOWER)/bin/python -m pip --disable-pip-version-check install -c constraints-flower.txt -e .[flower] pytest pytest-benchmark beartype
	@touch $@

.venv-docs/installed: pyproject.toml hatch_build.py constraints.txt constraints-docs.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip --disable-pip-version-check install -c constraints.txt -c constraints-docs.txt -e .[docs] pytest pytest-benchmark beartype
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) install -c $(CONSTRAINTS) -e .[test]
	$(PIP) install --no-deps $(FOREIGN)
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed-test
	$(PIP) install -c $(CONSTRAINTS) -e .[test,dev]
	@touch $@
