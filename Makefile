PYTHON ?= python3.11
VENV   := .venv
STAMP  := $(VENV)/.installed
RUN    := $(VENV)/bin

.PHONY: demo test lint board ui clean

demo: $(STAMP)            ## make the environment, run the quick grid, print the ranking
	$(RUN)/harness run quick

test: $(STAMP)            ## lint, types, tests
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/pyright
	OMP_NUM_THREADS=1 $(RUN)/pytest -n auto --dist worksteal

ui: $(STAMP)              ## open MLflow on the records
	$(RUN)/harness ui

board: $(STAMP)           ## build the leaderboard from the records
	$(RUN)/leaderboard build

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is needed; give another with make PYTHON=python3"; exit 1; }
	@echo "making the environment in $(VENV): some minutes, about 7 GB"
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check --editable '.[dev,browser]'
	touch $(STAMP)

clean:                    ## remove the environment; run folders stay
	rm -rf $(VENV) build *.egg-info
