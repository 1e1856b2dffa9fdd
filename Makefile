# make run: chat.  make test: everything that is tested.  make check: lint, format, types.  make bench: figures.
# make test-long: what `make test` has no time for.  make test-latest, test-lowest: the suite with other versions.
# make test-remote: the tests of servers in place of a model, in an environment of requirements-remote.txt, without torch.
# make test-vllm: the same against a real vLLM, in .venv-vllm (2.5 GB) or the environment of the Python in OVIS_VLLM.
# make test-kernels: every kernel for every card, and all golden cases in Triton's interpreter; takes some minutes.
# make soak: figures of docs/reliability.md that take hours; ARGS="--only F21" for one of them.
# make screenshots: pictures of the page in every state, into runs/screenshots; for people to look at.
# make audit: whether a vulnerability is known of a version in requirements.lock. It needs the network; tools/audit.py has
# the codes that it ends with, which make doesn't tell apart.
# make sbom: what the app is made of, as CycloneDX, into dist/ovis-app.cdx.json.
# make lock: after a change of pyproject.toml's bounds.
# make help: this.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
PYTEST := -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: help python run install install-dev test test-long test-kernels test-latest test-lowest test-remote test-vllm lock vendor audit sbom check format bench soak screenshots clean

run: install
	$(BIN)/python app.py $(ARGS)

help:
	@sed -n -e '/^#/!q' -e 's/^# //p' Makefile

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

test: install-dev
	$(BIN)/python $(PYTEST) $(ARGS)

test-long: install-dev
	$(BIN)/python $(PYTEST) -m long $(ARGS)

test-kernels: install-dev
	$(BIN)/python $(PYTEST) tests/engine/fused -m "kernels or not kernels" $(ARGS)

test-latest test-lowest: test-%: install-dev
	$(BIN)/python -m tools.lock $* --out .venv-$*.lock
	$(BIN)/python tools/install.py .venv-$* .venv-$*.lock
	.venv-$*/bin/python $(PYTEST) $(ARGS)

test-remote: install-dev
	$(BIN)/python -m tools.lock remote --out .venv-remote.lock
	$(BIN)/python tools/install.py .venv-remote .venv-remote.lock
	.venv-remote/bin/python $(PYTEST) tests/backends/remote $(ARGS)

# Once .venv-vllm is there, `make bench ARGS="--only vllm"` measures beside it.
test-vllm: install-dev
	test -n "$$OVIS_VLLM" || $(BIN)/python -m tools.vllm .venv-vllm
	$(BIN)/python -m pytest -rs tests/backends/remote/test_vllm.py -m vllm $(ARGS)

lock: install-dev
	$(BIN)/python -m tools.lock $(ARGS)

vendor:
	$(PYTHON) tools/vendor.py

audit: install-dev .venv-audit/.installed
	$(BIN)/python -m tools.audit .venv-audit/bin/pip-audit

.venv-audit/.installed: pyproject.toml | install-dev
	$(BIN)/python -m tools.lock audit --out .venv-audit.lock
	$(BIN)/python tools/install.py --bare .venv-audit .venv-audit.lock
	@touch $@

sbom: install-dev
	$(BIN)/python -m tools.sbom $(ARGS)

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install-dev
	$(BIN)/python -m benchmarks $(ARGS)

soak: install-dev
	$(BIN)/python -W ignore -m benchmarks.soak $(ARGS)

screenshots: install-dev
	$(BIN)/python -m tools.screenshots $(ARGS)

clean:
	rm -rf $(VENV) .venv-latest* .venv-lowest* .venv-remote* .venv-audit* .venv-vllm

python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make run PYTHON=python3.12")'

$(VENV)/.installed: requirements.lock tools/install.py | python
	@$(PYTHON) tools/install.py $(VENV) requirements.lock
	@touch $@

# In one go: its lock has the other one within. Without its mark a killed try is mended by `make install` too.
$(VENV)/.installed-dev: requirements-dev.lock requirements.lock tools/install.py | python
	@rm -f $(VENV)/.installed
	@$(PYTHON) tools/install.py $(VENV) requirements-dev.lock
	@touch $(VENV)/.installed $@
