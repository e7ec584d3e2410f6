.DEFAULT_GOAL := help
.PHONY: help demo test test-long bench lint lab-up lab-down venv

help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: venv ## from nothing to a verified host of each kind, on throwaway virtual machines
	@.venv/bin/bulkhead demo

test: lint ## style, types, unit tests, then the lab end to end
	@.venv/bin/pytest -n 2 --dist loadfile tests/unit
	@.venv/bin/pytest -n 2 tests/lab

test-long: venv ## the tests that take long
	@.venv/bin/pytest -m long tests/unit
	@.venv/bin/pytest -m long -n 2 tests/lab --ignore tests/lab/test_bookworm.py
	@.venv/bin/pytest -m long tests/lab/test_bookworm.py

bench: venv ## every benchmark, one after the other: hours on an emulated lab; the README says what each is
	@.venv/bin/python -m benchmarks.merge
	@.venv/bin/python -m benchmarks.egress
	@.venv/bin/python -m benchmarks.controller
	@.venv/bin/python -m benchmarks.fleet
	@.venv/bin/python -m benchmarks.peers
	@.venv/bin/python -m benchmarks.hardening

lint: venv ## style and types
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy

lab-up: venv ## bring the lab's machine up
	@.venv/bin/bulkhead lab up

lab-down: venv ## take the lab down
	@.venv/bin/bulkhead lab down

venv:
	@bulkhead/bootstrap.sh
