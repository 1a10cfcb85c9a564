# Every target sets up what it needs by itself, in .venv of this checkout.
#   make demo PYTHON=/path/to/python3.12   takes that Python for a new .venv
#   make test PYTEST_ARGS="-k costs"       hands arguments to pytest

PYTHON ?=
PYTEST_ARGS ?=
VENV := .venv
RUN := $(VENV)/bin/python
# -qq: errors only; a plain -q repeats warnings about the machine's own pip settings
INSTALL := $(RUN) -m pip --disable-pip-version-check install -qq

.DEFAULT_GOAL := help
# workers of pytest; each takes a core and up to 4 GB
TEST_WORKERS ?= 2
.PHONY: help demo test test-all soak audit bench docs lint format clean FORCE

help:
	@echo "make demo      set up .venv and run experiments/demo.py"
	@echo "make test      set up .venv with the test tools; lint, type check, quick tests"
	@echo "make test-all  the same with the slow tests too"
	@echo "make soak      kills a run 200 times (KILLS=n) and compares: hours"
	@echo "make bench     times of steps, seeds, devices and start-up, as tables; on an idle machine"
	@echo "make audit     known weaknesses of the pinned packages; needs the network"
	@echo "make docs      the pages of docs/ as a site, in site/"
	@echo "make lint      ruff, mypy and the order of imports"
	@echo "make format    ruff format, and what ruff check can mend"
	@echo "make clean     remove .venv and caches; runs/ stays"

demo: $(VENV)/.demo-installed
	$(RUN) experiments/demo.py

# Quick to compile instead of quick to run; test-all has what users have. XLA aborts where it does
# not know a flag, as jax 0.12 the second one.
test: lint
	@flags="$$XLA_FLAGS --xla_backend_optimization_level=0"; \
	more="$$flags --xla_cpu_use_fusion_emitters=false"; \
	XLA_FLAGS="$$more" $(RUN) -c 'import jax; jax.devices("cpu")' >/dev/null 2>&1 && flags=$$more; \
	export XLA_FLAGS="$$flags"; set -x; \
	$(RUN) -m pytest -n $(TEST_WORKERS) -m "not slow and not soak" $(PYTEST_ARGS)

test-all: lint
	$(RUN) -m pytest -n $(TEST_WORKERS) -m "not soak" $(PYTEST_ARGS)

soak: $(VENV)/.test-installed
	$(RUN) -m pytest -m soak $(PYTEST_ARGS)

audit: $(VENV)/.demo-installed
	@$(RUN) -m venv --clear $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip --disable-pip-version-check install -qq pip-audit
	$(VENV)/audit/bin/pip-audit -r requirements.txt --no-deps --disable-pip

bench: $(VENV)/.demo-installed
	@{ for model in ladder bottom gamma baseline conv_fc conv_small_gamma conv_small_baseline; do \
	  $(RUN) benchmarks/step.py --model=$$model; done; \
	$(RUN) benchmarks/seeds.py; $(RUN) benchmarks/scaling.py; $(RUN) benchmarks/startup.py; \
	} | $(RUN) benchmarks/as_table.py

docs: $(VENV)/.test-installed
	$(RUN) -m mkdocs build --strict --quiet
	@echo "open site/index.html, or, with a working search: $(RUN) -m http.server -d site"

lint: $(VENV)/.test-installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy ladder_jax
	$(VENV)/bin/lint-imports --no-logo

format: $(VENV)/.test-installed
	$(RUN) -m ruff check --fix-only .
	$(RUN) -m ruff format .

clean:
	rm -rf $(VENV) build dist site *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- set-up: the stamp files make a second call instant ----

# Sets $chosen to a Python that is new enough, that runs (a pyenv shim may exist and fail) and
# that can make a virtual environment with pip in it (Debian splits that off).
define find_python
chosen=; bare=; \
for candidate in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python3.14); do \
  "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
  if "$$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then chosen=$$candidate; break; fi; \
  bare=$${bare:-$$candidate}; \
done; \
if [ -z "$$chosen" ] && [ -n "$$bare" ]; then \
  echo "$$bare cannot make virtual environments: its ensurepip module is missing." >&2; \
  echo "On Debian or Ubuntu: apt install python3-venv. Or: make PYTHON=/path/to/another/python3" >&2; \
  exit 1; \
elif [ -z "$$chosen" ]; then \
  echo "$(if $(PYTHON),$(PYTHON) is not a working,There is no working) Python 3.11 or newer." >&2; \
  echo "Install one, or name one: make PYTHON=/path/to/python3" >&2; \
  exit 1; \
fi
endef

# editable_mode=compat: else Python started beside a clone takes the clone's folder, which has the
# same name, for the package.
# $(call install,FILE,EXTRA): the pins of FILE, or else the floors of setup.cfg with EXTRA
define install
if $(INSTALL) -r $(1); then \
  $(INSTALL) --no-deps --config-settings editable_mode=compat -e .; \
else \
  echo "$(1) cannot be installed as pinned (see above): taking the floors of setup.cfg"; \
  $(INSTALL) --config-settings editable_mode=compat -e '.[$(2)]'; \
fi
endef

# The stamp holds the folder it was made in: a moved or copied checkout is installed anew.
MOVED := $(shell grep -qsxF "$(CURDIR)" $(VENV)/.demo-installed || echo FORCE)

$(VENV)/.demo-installed: requirements.txt setup.cfg pyproject.toml $(MOVED)
	@if ! $(RUN) -c '' >/dev/null 2>&1; then \
	  $(find_python); \
	  echo "setting up $(VENV) with $$("$$chosen" --version): about a minute"; \
	  "$$chosen" -m venv --clear $(VENV) || exit 1; \
	else \
	  echo "bringing $(VENV) up to date"; \
	fi
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(RUN) -m ensurepip >/dev/null
	@$(call install,requirements.txt,sklearn)
	@echo "$(CURDIR)" > $@

$(VENV)/.test-installed: requirements-test.txt $(VENV)/.demo-installed
	@echo "adding the test tools to $(VENV)"
	@$(call install,requirements-test.txt,test)
	@touch $@
