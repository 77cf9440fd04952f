# Every target that runs something makes .venv first, once.

.DEFAULT_GOAL := help
PADDLE ?= cpu
PYTHON_IN_VENV := .venv/bin/python
UV ?= uv
# One test process a core, each with one thread: most of a run is loading and converting, which more threads don't help.
PYTEST := OMP_NUM_THREADS=1 $(PYTHON_IN_VENV) -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal
LOCK := $(UV) pip compile --quiet --no-strip-markers --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-header --no-annotate --python-version 3.10 $(if $(UPGRADE),--upgrade)
LOCK_HEADER := \# Every package of .venv with its hashes. Made by `make lock` from pyproject.toml and overrides.txt.
RAY_HEADER := \# What comes on top of requirements.txt for --ray. Made by `make lock`.
GPU_HEADER := \# What takes the place of paddlepaddle with PADDLE=gpu. Made by `make lock`.

.PHONY: help
help: ## print this list
	@echo "make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: venv
venv: ## make .venv from requirements.txt (PADDLE=gpu: with paddlepaddle-gpu); a no-op when it is there
	@tools/setup_venv.sh $(PADDLE)

.PHONY: ray
ray: venv ## put Ray on top of .venv, from requirements-ray.txt: for serve --ray and eval-infer --ray
	@$(PYTHON_IN_VENV) -m pip install -qq --disable-pip-version-check --no-deps --only-binary :all: \
		--require-hashes -r requirements-ray.txt

.PHONY: demo
demo: venv ## real photos through a split YOLOv3, into output/demo/ (IMAGE=path: your own photo)
	@$(PYTHON_IN_VENV) tools/demo.py $(if $(IMAGE),--input "$(IMAGE)")

.PHONY: test
test: venv ## the tests, without the slow ones (ARGS="-k name": more for pytest)
	@$(PYTEST) $(ARGS)

.PHONY: test-all
test-all: venv ## all tests
	@$(PYTEST) -m "slow or not slow" $(ARGS)

.PHONY: bench-rate
bench-rate: venv ## bytes against AP and divergence (BUNDLE=calibrated one, DATA=labelled set in COCO's format)
	@$(PYTHON_IN_VENV) benchmarks/rate_accuracy.py --bundle "$(BUNDLE)" --root "$(DATA)" $(ARGS)

.PHONY: lint
lint: venv ## format, lint, types and layering contracts; changes nothing
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

.PHONY: check
check: lint test ## lint, then test: what a change must pass

.PHONY: format
format: venv ## format, and mend what the linter can mend
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

.PHONY: lock
lock: ## pin requirements*.txt anew, needs uv (UPGRADE=1: to the newest versions)
	@$(LOCK) pyproject.toml --extra dev --override overrides.txt --output-file requirements.txt >/dev/null
	@sed -i.bak '1s|^|$(LOCK_HEADER)\n|' requirements.txt && rm requirements.txt.bak
	@echo "paddlepaddle-gpu==2.6.2" | $(LOCK) - --no-deps --output-file requirements-gpu.txt >/dev/null
	@sed -i.bak '1s|^|$(GPU_HEADER)\n|' requirements-gpu.txt && rm requirements-gpu.txt.bak
	@$(LOCK) pyproject.toml --extra ray --override overrides.txt --constraint requirements.txt \
		--output-file requirements-ray.txt >/dev/null
	@sed -i.bak '1s|^|$(RAY_HEADER)\n|' requirements-ray.txt && rm requirements-ray.txt.bak

.PHONY: clean
clean: ## remove outputs, frozen models and caches; keeps .venv, downloads and data sets
	rm -rf output build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find freezed -mindepth 1 ! -name README.md -delete
	find ppsplit tools tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## clean, and remove .venv
	rm -rf .venv
