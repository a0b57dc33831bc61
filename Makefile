# demo: see it work.  test: everything.  check: linters alone.  host-test: on a throw-away host with real SocketCAN and
# systemd.  search: the property tests, with examples that no run has tried.  bench: every figure beside its limit.
SHELL := /bin/sh
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE # or each of some hundred daemons that are started would compile everything anew

.PHONY: demo test check host-test search bench clean

demo:
	@tools/setup demo
	@$(BIN)/python -m gateway demo $(ARGS)

test:
	@tools/setup dev
	@tools/check
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --cov --cov-report=term $(ARGS)

check:
	@tools/setup dev
	@tools/check

host-test:
	@tools/setup dev
	@$(BIN)/python tools/host-test $(ARGS)

search:
	@tools/setup dev
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 -m hypothesis --hypothesis-profile=search $(ARGS)

bench:
	@tools/setup dev
	@$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf .venv .run build dist .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
