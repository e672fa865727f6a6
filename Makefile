# tidegate: everything a developer types. `make` alone lists the targets.
#
# The order of `make test`, and which test belongs to which step, stands in .ci/testrun;
# here are the single steps, so that each can be run by hand.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

GO ?= go
# The product is a static binary. Lint and tests are built the same way, so that nothing is
# compiled twice; only the race detector needs C, and its step asks for it.
export CGO_ENABLED := 0
# Seconds that each fuzz target gets; CI and `make test` use the default.
FUZZTIME ?= 10s
# How long `make soak` causes faults, and the seed of the first cluster; empty: a new one.
MINUTES ?= 10
SEED ?=
# What `make bench` measures: all, or chapters by a pattern, such as BENCH=latency.
BENCH ?= .
# What `make microbench` measures: the packages' own benchmarks.
BENCH_PACKAGES ?= ./bgp/... ./policy/... ./controller/... ./api/...

TOOLS := bin/tools
GENERATORS := $(addprefix $(TOOLS)/,buf protoc-gen-go protoc-gen-go-grpc protoc-gen-grpc-gateway protoc-gen-openapiv2)
# The description of the API over HTTP, which the gateway serves.
OPENAPI := api/gateway/openapi.swagger.json
# Hidden from ./... by its dot, or a second copy of the packages would appear there.
GENERATED := bin/.generated
# A binary, not `go run`, which would write a line of its own below the counts.
RUN = $(GO) build -buildvcs=false -o bin/testrun ./.ci/testrun && bin/testrun -fuzztime $(FUZZTIME)

## For every day

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^## /{printf "\n%s\n", substr($$0, 4)} \
	  /^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## bin/tidegate, one static binary
	$(GO) build -o bin/tidegate ./cmd/tidegate

.PHONY: demo
demo: build ## three nodes, a router, an attack, a crash: measured, no root needed
	bin/tidegate demo

.PHONY: test
test: ## everything that CI runs, with counts at the end (as root: installs the routers)
	@$(RUN) all

.PHONY: bench
bench: build ## every promised figure with its definition and target, in 5 minutes (BENCH=chapter)
	TIDEGATE_BIN=$(CURDIR)/bin/tidegate TIDEGATE_BENCH=$(CURDIR)/bin/bench.json \
	  $(GO) test -run '^$$' -bench '^BenchmarkTargets$$/$(BENCH)' -benchtime 1x -timeout 6m ./integration/bench

.PHONY: soak
soak: build ## faults at random for MINUTES=10, and a scoreboard (root; SEED=)
	$(GO) build -o bin/soak ./integration/soak
	TIDEGATE_BIN=$(CURDIR)/bin/tidegate bin/soak -minutes $(MINUTES) $(if $(SEED),-seed $(SEED))

.PHONY: microbench
microbench: ## the packages' own benchmarks (BENCH=pattern, BENCH_PACKAGES=./bgp)
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 30m $(BENCH_PACKAGES)

.PHONY: clean
clean: ## remove everything that was built
	rm -rf bin

## Single steps of make test

.PHONY: unit
unit: ## what make race runs, without the race detector: the quick answer
	@$(RUN) unit

.PHONY: race
race: ## tests under the race detector (all but TestProperty… and integration)
	@$(RUN) race

.PHONY: property
property: ## TestProperty…: the many random cases, without the race detector
	@$(RUN) property

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (default 10s)
	@$(RUN) fuzz

.PHONY: interop
interop: build ## integration tests against FRR, BIRD, ExaBGP, gobgpd (root; see make setup)
	@$(RUN) interop

.PHONY: faults
faults: build ## every fault on a cluster at work, judged by three routers (root; FAULTS_SEED=, FAULTS_ONLY=)
	@$(RUN) faults

.PHONY: setup
setup: ## install the routers as Debian packages (root), without starting them
	.ci/setup

## Code and its form

.PHONY: generate
generate: $(GENERATORS) ## renew the Go code beside each .proto, and the OpenAPI document
	rm -rf $(GENERATED)
	$(TOOLS)/buf generate -o $(GENERATED)
	find proto -name '*.pb.go' -delete -o -name '*.pb.gw.go' -delete
	cp -R $(GENERATED)/proto/. proto/
	cp $(GENERATED)/$(OPENAPI) $(OPENAPI)

.PHONY: fmt
fmt: $(GENERATORS) $(TOOLS)/golangci-lint ## format Go (gofumpt) and .proto files
	$(TOOLS)/golangci-lint fmt . ./.ci/testrun
	$(TOOLS)/buf format -w

.PHONY: lint
lint: lint-go lint-proto lint-drift lint-mod lint-supply ## linters, formats, generated code, go.mod, licences

.PHONY: lint-go
lint-go: $(TOOLS)/golangci-lint
	$(GO) vet ./... ./.ci/testrun ./.ci/supply
	$(TOOLS)/golangci-lint config verify
	$(TOOLS)/golangci-lint run ./... ./.ci/testrun ./.ci/supply

.PHONY: lint-proto
lint-proto: $(TOOLS)/buf
	$(TOOLS)/buf lint
	$(TOOLS)/buf format --diff --exit-code

# Compares with a fresh generation, both ways: changed, missing and left-over files.
.PHONY: lint-drift
lint-drift: $(GENERATORS)
	rm -rf $(GENERATED)
	$(TOOLS)/buf generate -o $(GENERATED)
	diff -ru --exclude='*.proto' --exclude='*.yaml' proto $(GENERATED)/proto && diff -u $(OPENAPI) $(GENERATED)/$(OPENAPI) \
	  || { echo 'generated code differs: run make generate' >&2; exit 1; }
	@[ "$$($(GO) list -m $(gateway))" = "$$($(GO) list -modfile=.ci/tools.mod -m $(gateway))" ] \
	  || { echo '$(gateway): go.mod and .ci/tools.mod must name the same version' >&2; exit 1; }

.PHONY: lint-mod
lint-mod:
	$(GO) mod tidy -diff
	@# Tools already in bin/tools would hide a checksum that a fresh machine misses.
	$(GO) list -modfile=.ci/tools.mod -deps tool > bin/tools.list

# The database of vulnerabilities is not to be had everywhere; vuln says so loudly where it is not, and the versions that
# are known to be bad are checked all the same.
.PHONY: lint-supply
lint-supply:
	$(GO) run ./.ci/supply check
	-@$(GO) run ./.ci/supply vuln # what it finds is printed; make vuln fails for it

.PHONY: licences
licences: ## renew docs/reference/licences.md
	$(GO) run ./.ci/supply licences

.PHONY: sbom
sbom: ## write the bill of materials (CycloneDX) to bin/sbom.cdx.json
	@mkdir -p bin
	$(GO) run ./.ci/supply sbom > bin/sbom.cdx.json

.PHONY: vuln
vuln: ## ask the Go vulnerability database, if it can be reached
	$(GO) run ./.ci/supply vuln

.PHONY: tools
tools: $(GENERATORS) $(TOOLS)/golangci-lint ## build the pinned tools into bin/tools (minutes, once)

# The tools have a module of their own, .ci/tools.mod, so that their dependencies never
# choose a version for the product. They become ordinary binaries: -modfile ends with the
# build and cannot leak into the `go list` that a linter runs.
tool_buf := github.com/bufbuild/buf/cmd/buf
tool_golangci-lint := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
tool_protoc-gen-go-grpc := google.golang.org/grpc/cmd/protoc-gen-go-grpc
gateway := github.com/grpc-ecosystem/grpc-gateway/v2
tool_protoc-gen-grpc-gateway := $(gateway)/protoc-gen-grpc-gateway
tool_protoc-gen-openapiv2 := $(gateway)/protoc-gen-openapiv2

# protoc-gen-go has its own rule below.
$(filter-out %/protoc-gen-go,$(GENERATORS)) $(TOOLS)/golangci-lint: $(TOOLS)/%: .ci/tools.mod .ci/tools.sum
	$(GO) build -buildvcs=false -modfile=.ci/tools.mod -o $@ $(tool_$*)
	@touch $@

# This one comes from go.mod: the generator must be the version of the runtime that the
# generated code is linked with.
$(TOOLS)/protoc-gen-go: go.mod
	$(GO) build -buildvcs=false -o $@ google.golang.org/protobuf/cmd/protoc-gen-go
	@touch $@
