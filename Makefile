VERSION := $(shell internal/dev/version)
DEB := dist/l4d2-host_$(VERSION)-1_amd64.deb
RPM := dist/l4d2-host-$(VERSION)-1.x86_64.rpm
SOURCE := dist/l4d2-host-$(VERSION).tar.gz
# How long each fuzz target runs.
FUZZTIME ?= 30s

# Of the last commit, so that the packages come out the same byte for byte.
export SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),946684800)
export VERSION
# The Go that internal/dev/setup found or fetched, and no other behind its back.
export PATH := $(CURDIR)/build/toolchain/bin:$(PATH)
export GOTOOLCHAIN := local

TOOL := go tool -modfile=internal/tools/go.mod
# Tests boot machines and mount.
ROOT := $(if $(filter-out 0,$(shell id -u)),sudo -E env "PATH=$(PATH)")

.PHONY: help build man deb rpm previous release test lint bench fuzz demo clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

# Static: the helper runs as root in a directory that the game's user can write
# to, and is to load nothing from anywhere.
build: ## the programs, in build: l4d2ctl, l4d2-overlay, l4d2-update and l4d2-watch
	@internal/dev/setup build
	CGO_ENABLED=0 GOARCH=amd64 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o build/ ./cmd/l4d2ctl ./cmd/l4d2-overlay ./cmd/l4d2-update ./cmd/l4d2-watch

# Each page and its roff in build/man have the page's name, l4d2ctl.1.
man: ## the manual pages, build/man/*.gz
	@internal/dev/setup man
	@rm -rf build/man && mkdir -p build/man
	@md2man=$$($(TOOL) -n go-md2man) && cd packaging/man && for page in *.md; do \
		"$$md2man" -in "$$page" -out "../../build/man/$${page%.md}" || exit; \
	done && gzip -9n ../../build/man/*

deb: build man ## dist/l4d2-host_VERSION-1_amd64.deb
	@internal/dev/setup deb
	@mkdir -p dist && rm -f dist/*.deb
	gzip -9n <CHANGELOG.md >build/changelog.gz
	internal/dev/changelog | gzip -9n >build/changelog.Debian.gz
	$(TOOL) nfpm package --packager deb --target $(DEB)

rpm: build man ## dist/l4d2-host-VERSION-1.x86_64.rpm
	@internal/dev/setup rpm
	@mkdir -p dist && rm -f dist/*.rpm
	$(TOOL) nfpm package --packager rpm --target $(RPM)

# What the tests upgrade from.
previous:
	@internal/dev/previous

# Of the commit, not of what lies about in the work tree.
release: ## deb, rpm and source in dist, with SHA256SUMS
	@[ -z "$$(git status --porcelain)" ] || { echo "release: the work tree differs from its commit: commit first"; exit 1; }
	@rm -rf dist
	@$(MAKE) --no-print-directory deb rpm
	git archive --format=tar --prefix=l4d2-host-$(VERSION)/ HEAD | gzip -9n >$(SOURCE)
	cd dist && sha256sum -- * >../build/SHA256SUMS && mv ../build/SHA256SUMS .

# Two cores are few: what boots machines comes last, and what watches servers on
# them, by the clock, has all to itself.
BUSY := fault|kernel|limittest|machine|packagetest
ALONE := systemtest

test: deb rpm previous ## all tests, as root, and the linters
	@internal/dev/setup test
	$(ROOT) go test -count=1 -timeout 30m $$(go list ./... | grep -vE '/internal/($(BUSY)|$(ALONE))$$')
	$(ROOT) go test -count=1 -p 2 -timeout 30m $$(go list ./... | grep -E '/internal/($(BUSY))$$')
	$(ROOT) go test -count=1 -timeout 30m $$(go list ./... | grep -E '/internal/($(ALONE))$$')
	@$(MAKE) --no-print-directory lint
	@# What the tests' stand-ins could not be here; go test hides what passes.
	@go test -count=1 -v -run '^TestArchitecture$$' ./internal/standin | sed -n 's/^standin: /test: /p'

lint: ## gofmt, go vet, staticcheck
	@internal/dev/setup lint
	@unformatted=$$(gofmt -l cmd internal packaging units); [ -z "$$unformatted" ] || { echo "gofmt -w $$unformatted"; exit 1; }
	go vet ./...
	$(TOOL) staticcheck ./...

bench: deb ## all benchmarks, as root
	@internal/dev/setup bench
	$(ROOT) go run ./internal/bench

fuzz: ## all fuzz targets, each for FUZZTIME=30s
	@internal/dev/setup build
	internal/dev/fuzz $(FUZZTIME)

demo: deb ## the whole life of a few servers on a machine of their own, as root
	@internal/dev/setup demo
	$(ROOT) go run ./internal/demo

clean: ## remove what was built
	rm -rf build dist
