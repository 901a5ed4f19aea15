# The two commands are `make run` and `make test`; CMake and Ninja do the building beneath.
# Scripts in scripts/ do one thing each. `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Options for the program or the tests: make run ARGS="--port 9000", make test ARGS="-L unit"
ARGS ?=

.PHONY: help run test build web deps models packages asan tsan fuzz bench-learn bench-ttft bench-engine bench-retrieval bench-chat-retrieval bench-soak bench-10k bench-gateway bench-store bench-guard chaos load llama-server \
	format format-check test-clean clean

## Using Parley

# With another server's model there are no weights to fetch.
ifneq (,$(findstring --upstream,$(ARGS))$(PARLEY_UPSTREAM))
run: build
else
run: build models
endif
run: ## Install what is missing, build, get the models and start (ARGS="--port 9000")
	@exec build/parley serve $(ARGS)

build: packages web ## Build the program (build/parley) and what it needs
	@scripts/build build -- parley

web: packages ## Build the page (web/dist), when its sources changed
	@scripts/build-web

deps: packages ## Build the third-party libraries (yyjson, llama.cpp, SQLite) into the cache
	@scripts/deps
	@scripts/build-sqlite

models: build ## Get this machine's models ready (see also build/parley model list)
	@scripts/models

packages: ## Install the Debian packages that running needs, when any is missing
	@scripts/system-packages packaging/debian/run.txt

## Testing

test: ## Install what tests need, build and run all tests (ARGS="-L unit -R store" picks some)
	@exec scripts/test $(ARGS)

asan: packages ## Run the unit tests and fuzz corpora under the address and undefined sanitizers
	@scripts/build build-asan -DPARLEY_SANITIZE=address -DCMAKE_BUILD_TYPE=Debug -- checks
	@ctest --test-dir build-asan -L 'unit|fuzz' --output-on-failure $(ARGS)

tsan: packages ## Run the unit tests of what has threads under the thread sanitizer
	@scripts/build build-tsan -DPARLEY_SANITIZE=thread -DCMAKE_BUILD_TYPE=Debug -- checks
	@ctest --test-dir build-tsan -L threads --output-on-failure $(ARGS)

fuzz: ## Fuzz every parser of untrusted bytes with libFuzzer (SECONDS_EACH=60)
	@scripts/fuzz

test-clean: ## Run `make run` and `make test` inside a bare Debian 12 (needs root; slow)
	@tests/clean/run.sh $(ARGS)

format-check: ## Say which C files clang-format would change
	@scripts/format --check

## Measuring

bench-ttft: build models ## Time to first token: the whole program against llama-server
	@exec bench/ttft $(ARGS)

bench-engine: build models ## The engine alone against llama-server and the library (ARGS=--quick: 2 minutes)
	@exec bench/engine $(ARGS)

bench-retrieval: packages ## Search in 10,000 to 1,000,000 passages, beside sqlite-vec and FTS5 (ARGS=--quick: 2 minutes)
	@exec bench/retrieval $(ARGS)

bench-chat-retrieval: build models ## Chats grounded in 500 documents, alone and while others come in (ARGS=--quick: 2 minutes)
	@exec bench/chat-retrieval $(ARGS)

bench-soak: build models ## The engine under random load for 30 minutes: memory flat, nothing lost (ARGS=--quick: a minute)
	@exec python3 bench/soak.py $(ARGS)

load: packages # the programs that make load for the two below
	@scripts/build build -- load

bench-learn: build ## What is learnt from ratings: search, variants, approved answers (ARGS=--quick)
	@exec scripts/bench-learn $(ARGS)

bench-10k: build load ## Ten thousand users on one server against a mock model (ARGS=--quick)
	@exec python3 bench/10k.py $(ARGS)

bench-store: packages ## Durable appends a second with 1, 64 and 1,000 writers (ARGS=--quick)
	@scripts/build build -- bench_store
	@exec build/bench_store $(ARGS)

bench-guard: build ## What the guard costs for each text, beside other scanners, and what disguises cost it (ARGS=--quick)
	@exec scripts/bench-guard $(ARGS)

bench-gateway: build load ## What a request costs on its way through, beside LiteLLM's proxy (ARGS=--quick)
	@exec scripts/bench-gateway $(ARGS)

chaos: build load ## People chat while processes are killed at random (ARGS="--minutes 60", ARGS=--quick, ARGS=--alone)
	@scripts/models smollm2-135m-instruct
	@exec python3 bench/chaos.py $(ARGS)

llama-server: packages ## Build llama-server and llama-batched-bench for comparisons
	@scripts/build-llama-server

## Housekeeping

format: ## Format all C files
	@scripts/format

clean: ## Remove build folders and the built page (the cache outside git stays)
	@rm -rf build build-asan build-tsan build-fuzz web/dist

help: ## List these targets
	@awk -F ':.*## ' '/^## / { printf "\n%s\n", substr($$0, 4) } \
		/^[a-z0-9-]+:.*## / { printf "  make %-21s %s\n", $$1, $$2 }' Makefile
