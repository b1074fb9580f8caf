# The front door. `make` lists what there is; every target sets up what it needs.

PY    := .venv/bin/python
READY := .venv/ready

# Only those who change the figures' scripts need npm: without it lint says so and goes on, but not in CI.
NPM   := $(shell command -v npm)
TOOLS := $(if $(NPM),node_modules/.ready,no-npm)

CHAPTERS := $(wildcard chapters/*.ipynb)
# The longest first (those of 40 s and more), so that two at a time end together.
LONGEST  := $(foreach n,09 15 13 10 04 12,$(wildcard chapters/$(n)_*.ipynb))
EXECUTED := $(patsubst chapters/%,_build/executed/%,$(LONGEST) $(filter-out $(LONGEST),$(CHAPTERS)))
# Results are written by what runs no chapter: those that show some say so below.
EXECUTED += _build/executed/playground.ipynb
PACKAGE  := $(shell find course_lib -type f ! -path '*/__pycache__/*' ! -path 'course_lib/bundled/results/*')
PAGES    := _config.yml _toc.yml _chapters.yml intro.md teaching.md references.md references.bib $(shell find assets templates reference -type f)
# Whatever can be run but gpu, which needs one: python -m benchmarks.gpu
BENCHES  := $(filter-out gpu,$(basename $(notdir $(shell grep -l __main__ benchmarks/*.py))))
READING  := $(addprefix tools/,reading.py chapters.py drawing.py landing.py numbering.py practice.py gallery.py checks.py)

.DEFAULT_GOAL := help
.PHONY: help book serve lab test lint scripts tidy bench teach posters pdf zip site plain links audit colab-check clean no-npm
.DELETE_ON_ERROR:

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

book: $(READY)  ## execute every chapter and build the book
	@$(MAKE) --no-print-directory -j 2 executed
	@$(MAKE) --no-print-directory _build/html/index.html
	@echo "The book is at _build/html/index.html (make serve shows it on localhost)"

serve: book  ## show the book on http://localhost:8000
	@echo "http://localhost:8000  (Ctrl-C stops)"
	@$(PY) -m http.server 8000 --bind 127.0.0.1 --directory _build/html

lab: $(READY)  ## open the chapters in JupyterLab
	@$(PY) -m jupyterlab chapters

test: lint book .venv/browser  ## run every check, the book's pages in a browser included
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n 2

lint: $(READY) scripts  ## check the style of package, scripts, tests and notebooks, and the workflows
	@$(PY) -m ruff format --check -q . || { echo "make tidy formats these files"; exit 1; }
	@$(PY) -m ruff check -q .
	@$(PY) -m mypy --no-error-summary
	@.venv/bin/zizmor --offline --quiet --no-progress .github/workflows

scripts: $(TOOLS)  ## check the figures' scripts and the syntax of the workflows (needs npm)
	@$(if $(NPM),npm run --silent lint || { echo "make tidy mends what is style"; exit 1; })

tidy: $(READY) $(TOOLS)  ## format everything, strip outputs from the notebooks
	@$(PY) -m nbstripout --extra-keys "metadata.language_info metadata.widgets" $(CHAPTERS) playground.ipynb
	@$(PY) -m ruff check -q --fix . ; $(PY) -m ruff format -q .
	@$(if $(NPM),npm run --silent tidy)

bench: .venv/browser  ## race the solvers, measure growth, memory and figures, into bundled/results/
	@failed=0; for name in $(BENCHES); do $(PY) -m benchmarks.$$name || failed=1; done; exit $$failed

teach: book $(if $(NPM),node_modules/.ready)  ## slides and notebooks without solutions, into _build/teach
	@$(PY) -m tools.blanks _build/teach/blanks
	@$(PY) -m tools.slides _build/html _build/teach/slides
	@echo "Slides and blanks are in _build/teach"

posters: book .venv/browser  ## photograph the live figures anew, for the page that lists them
	@$(PY) -m tools.posters

pdf: book .venv/browser  ## print the whole course as _build/neural-odes.pdf (ADDRESS=https://... for QR codes)
	@$(PY) -m tools.pdf _build/html _build/neural-odes.pdf $(if $(ADDRESS),--address $(ADDRESS))

zip: book  ## put the built book into _build/neural-odes.zip, which opens from the file system
	@$(PY) -m tools.archive _build/html _build/neural-odes.zip

site: book  ## gather in _build/site what a release holds (REPOSITORY=OWNER/REPO: for Colab too)
	@$(PY) -m tools.site

plain: book  ## build the book with Sphinx alone and compare the pages
	@$(PY) -m tools.plain

links: book  ## ask every address that the book names whether it answers
	@$(PY) -m tools.links

audit: $(READY)  ## ask whether a pinned version has a known vulnerability
	@tools/audit

colab-check: $(READY)  ## run the chapters with the versions that Colab has
	@$(PY) -m tools.colab_check

clean:  ## remove everything that was built, the environment too
	rm -rf _build .venv node_modules .pytest_cache .ruff_cache .hypothesis course_lib.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the parts -------------------------------------------------------------------------------------

$(READY): requirements.txt pyproject.toml tools/setup
	@tools/setup
	@touch $@

node_modules/.ready: package.json package-lock.json
	@npm ci --silent
	@touch $@

no-npm:
	@echo "npm was not found: the figures' scripts are not checked (only those who change them need it)"
	@test -z "$$CI"

.venv/browser: $(READY) tools/browser.py
	@$(PY) -m tools.browser > $@

.PHONY: executed
executed: $(EXECUTED)

# Made anew whenever the chapter, the package or the pinned versions change: outputs are never stale.
_build/executed/%.ipynb: chapters/%.ipynb $(PACKAGE) requirements.txt tools/execute
	@tools/execute $< $@

_build/executed/playground.ipynb: playground.ipynb $(PACKAGE) requirements.txt tools/execute
	@tools/execute $< $@

# These chapters show what the long trainings wrote.
_build/executed/09_mnist.ipynb: course_lib/bundled/results/mnist.json
_build/executed/13_latent_odes.ipynb: course_lib/bundled/results/latent_ode.json
_build/executed/13b_harder_series.ipynb: course_lib/bundled/results/latent_ode.json course_lib/bundled/results/visits.json
_build/executed/15_from_noise_to_digits.ipynb: course_lib/bundled/results/flow_matching.json
_build/executed/16_implicit_layers.ipynb: course_lib/bundled/results/equilibrium.json
_build/executed/17_laws_of_physics.ipynb: course_lib/bundled/results/physics.json
_build/executed/18_when_training_does_not_work.ipynb: course_lib/bundled/results/horizons.json
_build/executed/21_on_graphs.ipynb: course_lib/bundled/results/graphs.json
_build/executed/19_driven_by_data.ipynb: course_lib/bundled/results/controlled.json
_build/executed/20_noise.ipynb: course_lib/bundled/results/noise.json
_build/executed/22_outgrowing_one_machine.ipynb: course_lib/bundled/results/scaling.json
_build/executed/23_what_it_costs.ipynb: course_lib/bundled/results/speed.json course_lib/bundled/results/precision.json course_lib/bundled/results/compiled.json course_lib/bundled/results/growth.json

_build/html/index.html: $(EXECUTED) $(PAGES) tools/build tools/lighten.py tools/mend.py tools/hasten.py tools/dress.py tools/share.py tools/apart.py tools/figures.py tools/exercises.py tools/blanks.py $(READING) _build/address
	@tools/build

# OWNER/REPO of the published course, or nothing: another address is another book.
.PHONY: asked
_build/address: asked $(READY)
	@mkdir -p _build
	@$(PY) -m tools.address >$@.now
	@cmp -s $@.now $@ || cp $@.now $@
