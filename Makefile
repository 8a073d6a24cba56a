# `make help` explains the targets. Everything runs in .venv/, which the first target that needs it makes.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules

BIN := .venv/bin
LOCAL := $(BIN)/posthorn-local
SOURCES := $(wildcard libs/*/src services/*/src deploy/local/src)

.PHONY: help bootstrap environment demo up down reset status logs test test-unit chaos fuzz test-servers-down check format schemas \
	requirements requirements-check upgrade compose-up compose-down clean bench-send bench-storage bench-import bench-audience \
	bench-gateway bench-orders

help: ## Explain the targets.
	@awk -F ':.*## ' '/^### / { print "\n" substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' Makefile

environment:
	@deploy/local/bootstrap.sh --python-only

### The product on this machine
demo: bootstrap ## Start everything, send a campaign to 1,000 contacts, show progress and statistics.
	@$(LOCAL) demo

up: bootstrap ## Start PostgreSQL, Valkey, RabbitMQ, the mail catcher and the five services; say where they are.
	@$(LOCAL) up

down: environment ## Stop all that `make up` started; data stay.
	@$(LOCAL) down

reset: environment ## Stop everything and delete its data.
	@$(LOCAL) reset

status: environment ## Show what runs, and where.
	@$(LOCAL) status

logs: environment ## Follow the logs of everything, or of one: make logs NAME=mailer.
	@$(LOCAL) logs $(NAME)

compose-up: ## Build and start the same product in containers (needs a Docker engine).
	@python3 deploy/make_env.py compose
	docker compose --file deploy/compose/compose.yaml up --build --detach --wait

compose-down: ## Stop the containers.
	docker compose --file deploy/compose/compose.yaml down

### Working on it
bootstrap: ## Make .venv and install RabbitMQ where it is missing; every other target does it by itself.
	@deploy/local/bootstrap.sh

test: bootstrap ## Run all tests against real servers; ARGS="-k pause" chooses.
	@$(BIN)/pytest $(ARGS)

test-unit: environment ## Run the tests that need no servers.
	@$(BIN)/pytest -m "not integration and not e2e and not slow and not chaos and not fuzz" $(ARGS)

chaos: bootstrap ## Prove that no fault loses a recipient or mails one twice (20,000 recipients, half an hour); ARGS="-k redis".
	@POSTHORN_CHAOS_RECIPIENTS="$${POSTHORN_CHAOS_RECIPIENTS:-20000}" $(BIN)/pytest -m "" tests/chaos $(ARGS)

fuzz: bootstrap ## Send many more made-up requests (schemathesis) to every operation than `make test` does.
	@$(BIN)/pytest -m fuzz tests/e2e $(ARGS)

test-servers-down: environment ## Stop the servers that `make test` leaves running for the next run.
	@$(LOCAL) test-servers-down

check: environment requirements-check ## Format, lint, types, import rules, schemas and requirements.
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy $(SOURCES)
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m posthorn_contracts.schemas --check

format: environment ## Format the code and fix what the linter can fix.
	@$(BIN)/ruff check --fix --exit-zero --quiet .
	@$(BIN)/ruff format --quiet .

schemas: environment ## Write the golden JSON Schemas of all events.
	@$(BIN)/python -m posthorn_contracts.schemas

requirements: environment ## Write the hash-pinned requirements anew, keeping the pins that still fit.
	@requirements/compile.sh

requirements-check: environment
	@requirements/compile.sh --check

upgrade: environment ## Move all pins to the newest versions.
	@requirements/compile.sh --upgrade

### Measuring
bench-send: bootstrap ## Measure the mailer's whole path beside two baselines; ARGS="--rounds 1" or ARGS=--profile.
	@$(BIN)/python -m benchmarks.send $(ARGS)

bench-import: bootstrap ## Measure the import of a million contacts beside COPY of the same file; ARGS="--rows 200000".
	@$(BIN)/python -m benchmarks.imports $(ARGS)

bench-storage: bootstrap ## Measure what a campaign needs of PostgreSQL: planned, sent and compacted; ARGS="--recipients 1000000".
	@$(BIN)/python -m benchmarks.storage $(ARGS)

bench-audience: bootstrap ## Measure finding, counting and streaming of a million contacts; ARGS="--contacts 100000".
	@$(BIN)/python -m benchmarks.audience $(ARGS)

bench-orders: bootstrap ## Measure how soon workers obey pause and resume, and how soon a single message overtakes.
	@$(BIN)/python -m benchmarks.orders $(ARGS)

bench-gateway: bootstrap ## Measure what the gateway costs per request, beside no proxy and beside nginx.
	@$(BIN)/python -m benchmarks.gateway $(ARGS)

### Starting over
clean: down test-servers-down ## Stop everything; delete .venv, .tools and caches, but not the stack's data.
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
