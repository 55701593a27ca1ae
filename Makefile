# The ways into the project; Meson builds, and scripts/ does its own set-up.
BUILD ?= build

help: ## what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

build: $(BUILD)/build.ninja ## the library, the command, the tests, into build/
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	scripts/setup --for test
	meson setup $(BUILD)

quick: ## style and the unit tests but the slow ones: half a minute after the build
	scripts/test style quick

test: ## everything: style, release, sanitizers, threads
	scripts/test

bench: build ## the kernels' speeds; bench/*.py have the programs that are compared
	$(BUILD)/tests/checkasm/checkasm --bench

format: ## lets clang-format 14 change the C files, then says what else is wrong
	scripts/check-style --fix

coverage: ## which lines the tests run, by gcovr
	scripts/test coverage

# make fuzz TARGET=form: one target, until it finds something or is stopped; build-fuzz/corpus-TARGET grows.
TARGET ?= http
fuzz: ## libFuzzer on TARGET (http), until it finds something
	[ -f build-fuzz/build.ninja ] || CC=clang meson setup build-fuzz -Dfuzz=true -Db_sanitize=address,undefined \
	    -Db_lundef=false -Dbuildtype=debugoptimized
	ninja -C build-fuzz tests/fuzz/libfuzzer_$(TARGET)
	mkdir -p build-fuzz/corpus-$(TARGET)
	build-fuzz/tests/fuzz/libfuzzer_$(TARGET) -rss_limit_mb=2048 build-fuzz/corpus-$(TARGET) \
	    $(wildcard tests/fuzz/corpus/$(TARGET))

.PHONY: help build quick test bench format coverage fuzz
