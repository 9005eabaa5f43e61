# Everything runs from a fresh checkout: the first target that needs it makes .venv with the machine's python3.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Tests and sweeps start a hundred processes; where nothing compiled may be kept, each would compile torch anew (three seconds).
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-emoji demo-video demo-fid test test-processors test-torch211 lint fuzz drills docs dist gpu gpu-bundle setup clean
.DEFAULT_GOAL := help

help:
	@echo "make demo      train VQ, RQ and LFQ tokenizers on real photographs and print the comparison table"
	@echo "make demo-emoji  a tokenizer of emoji and an AR given their names; then draw \"red heart\" and nine others   (half an hour)"
	@echo "make demo-video  train VQ, LFQ and FSQ tokenizers of videos on the built-in clips; the table, and a film of all side by side"
	@echo "make demo-fid  the same table with true rFID, and gFID of a generator on each (fetches Inception; half an hour)"
	@echo "make test      lint, types and the test suite"
	@echo "make lint      ruff, codespell, mypy and the package layers"
	@echo "make fuzz      10,000 damaged or hostile inputs of every kind   (an hour on two cores)"
	@echo "make drills    training killed thirty times, preempted, on a full disk   (minutes)"
	@echo "make docs      the documentation site, in build/docs"
	@echo "make dist      source distribution, wheel and constraints of a release, in dist"
	@echo "make test-torch211  the tests on Python 3.12 with torch 2.11, in an environment of their own; some: TESTS='tests/models -m slow'"
	@echo "make gpu       all that only a GPU can show, in MINUTES (25); again for what is left"
	@echo "make gpu-bundle  what that needs where there is no network: HAVE=packages.txt DATA=source, in parts of 64 MiB"
	@echo "make setup     only the .venv"

setup: $(READY)

$(READY): pyproject.toml
	@echo "setting up $(VENV) (once; about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "tokbench needs Python 3.10 or newer; set PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 cannot make a virtual environment: install its venv package (Debian: python3-venv)"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[test]'
	@touch $@

demo: $(READY)
	$(BIN)/tokbench sweep demo

demo-video: $(READY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e ".[video]"
	$(BIN)/tokbench sweep --recipe demo-video --quantizer vq,lfq,fsq --codebook-size 512 --out runs/demo-video

EMOJI := runs/demo-emoji
demo-emoji: $(READY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e ".[text]"
	$(BIN)/tokbench tokenizer-text train emoji --vocab 1024 --out $(EMOJI)/text.json
	$(BIN)/tokbench train demo-emoji --out $(EMOJI)/rq
	$(BIN)/tokbench encode $(EMOJI)/rq/tokenizer --data emoji --crop adm --no-flip --captions --latents --out $(EMOJI)/codes
	$(BIN)/tokbench train generators/demo-emoji --out $(EMOJI)/ar
	$(BIN)/tokbench evaluate-generator $(EMOJI)/ar/generator --data emoji --results $(EMOJI)/runs.jsonl
	$(BIN)/tokbench generate $(EMOJI)/ar/generator --out $(EMOJI)/drawn -n 80 --guidance 1.5 --temperature 0.6 --text "red heart" \
	  --text "blue heart" --text "orange heart" --text "red circle" --text "blue circle" --text "red square" \
	  --text "green square" --text "grinning cat" --text "dog face" --text "down arrow"

demo-fid: $(READY)
	$(BIN)/tokbench weights get inception-fid
	$(BIN)/tokbench sweep demo-fid

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# What lint says stands below what the tests say: it is half a minute of one core where mypy remembers nothing.
test: $(READY)
	@said=$$(mktemp); $(MAKE) --no-print-directory lint >$$said 2>&1 & lint=$$!; \
	$(BIN)/python -m pytest -n 2 --dist worksteal; tests=$$?; \
	wait $$lint; lint=$$?; cat $$said; rm -f $$said; exit $$((tests + lint))

# What rounds or compares: once as on a laptop (AVX2), once with no vector instructions chosen by torch.
ROUNDING := tests/generators tests/losses $(wildcard tests/models/test_models_*.py tests/models/test_*conv*.py tests/models/test_video_[gl]*.py \
  tests/quantizers/test_quantizer_[gls]*.py) tests/models/test_tiling.py
test-processors: $(READY)
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 $(BIN)/python -m pytest -n 2 --dist worksteal -q $(ROUNDING)
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 $(BIN)/python -m pytest -n 2 --dist worksteal -q $(ROUNDING)

fuzz: $(READY)
	TOKBENCH_FUZZ=10000 $(BIN)/python -m pytest tests/fuzz -n 2 --dist worksteal

drills: $(READY)
	$(BIN)/python -m pytest tests/drills -m "drill or not drill" -s

# What a GPU may come with, beside the newest of everything in .venv: the code has one form that is right on both.
# The interpreter of its Triton, in which tests run kernels, knows no newer numpy.
TORCH211  := .venv-torch211
PYTHON312 ?= python3.12
IS_312    := import sys; sys.exit(sys.version_info[:2] != (3, 12))
$(TORCH211)/.ready: pyproject.toml $(READY)
	@echo "setting up $(TORCH211): Python 3.12 with torch 2.11 (once; 6 GB)"
	@$(BIN)/uv venv --quiet --clear --python $(PYTHON312) $(TORCH211) && $(TORCH211)/bin/python -c '$(IS_312)' \
	  || { echo "$(PYTHON312) is not a Python 3.12, or there is none: set PYTHON312=/path/to/python3.12"; exit 1; }
	@$(BIN)/uv pip install --quiet --python $(TORCH211)/bin/python -e '.[test]' 'torch==2.11.*' 'numpy<2.4'
	@touch $@

test-torch211: $(TORCH211)/.ready
	@$(TORCH211)/bin/python -c 'import sys, torch; print(f"Python {sys.version.split()[0]}, torch {torch.__version__}")'
	$(TORCH211)/bin/python -m pytest -n 2 --dist worksteal $(TESTS)

# Sets nothing up: where there is a GPU there may be no network. Without a .venv it is the machine's own python3 with
# the wheels that were brought along (make gpu-bundle).
MINUTES  ?= 25
OWN      := $(wildcard $(BIN)/python)
GPU_SITE := $(if $(OWN),,$(if $(wildcard gpu-bundle/part-*/*.whl),gpu-bundle/site))
gpu: $(addsuffix /.ready,$(GPU_SITE))
	@$(if $(OWN)$(GPU_SITE),,echo "no .venv and no wheels in gpu-bundle here: what $(PYTHON) has must do")
	PYTHONPATH=$(CURDIR):$(addprefix $(CURDIR)/,$(GPU_SITE)):$(PYTHONPATH) $(or $(OWN),$(PYTHON)) -m tokbench bench gpu \
	  --minutes $(MINUTES) $(if $(wildcard gpu-bundle/part-*),--bundle gpu-bundle) $(if $(DATA),--data $(DATA))

gpu-bundle/site/.ready: $(wildcard gpu-bundle/part-*/*.whl)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --upgrade --target $(@D) $^
	@touch $@

gpu-bundle: $(READY)
	$(BIN)/python -m tokbench.bench.gpu.bundle $(if $(HAVE),--have $(HAVE)) $(if $(DATA),--data $(DATA))

# Strict: a warning, a link or an anchor that leads nowhere ends it.
docs: $(READY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "build/docs/index.html; with search: python3 -m http.server -d build/docs"

# sdist and wheel of the tagged version, and what it was resolved to: pip install tokbench -c constraints.txt.
dist: $(READY)
	rm -rf dist
	$(BIN)/uv build --quiet --out-dir dist
	$(BIN)/uv pip compile --quiet --universal --no-header --no-annotate --output-file dist/constraints.txt pyproject.toml
	@ls dist

clean:
	rm -rf $(VENV) $(TORCH211) gpu-bundle runs build dist .pytest_cache .mypy_cache .ruff_cache
