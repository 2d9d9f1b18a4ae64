# The usual calls, on top of CMake.  `make help` lists them.
BUILD ?= build
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
FUZZ ?= rows
T ?= 60

# $(call build,folder,cmake options,part of setup.sh,target): the needed packages, then configure
# once, then compile.
define build
tools/setup.sh $(3)
@[ -f $(1)/build.ninja ] || [ -f $(1)/Makefile ] || \
    cmake $$(command -v ninja >/dev/null && echo -G Ninja) -S . -B $(1) $(2)
cmake --build $(1) -j $(JOBS) $(4)
endef

.PHONY: release debug quick test exports asan arm tsan fuzz bench random demo fmt layers check clean help

release: ## the program: build/hone
	$(call build,$(BUILD))

debug: ## the same for a debugger, in build-debug
	$(call build,build-debug,-DCMAKE_BUILD_TYPE=Debug)

quick: release ## the short tests (less than a minute)
	tests/run.sh $(BUILD) -L quick

test: release ## all tests; those of the real model get it first
	@model=$$(tools/get-model.sh) || echo 'make test: no model: its tests will be skipped' >&2; \
	    HONE_MODEL="$$model" tests/run.sh $(BUILD)

exports: release ## exports in transformers, peft and llama.cpp, which are installed once (some minutes)
	@tools/setup.sh peers
	@model=$$(tools/get-model.sh) || echo 'make exports: no model: it is left out' >&2; \
	    HONE_MODEL="$$model" tests/tools/exports.sh $(BUILD)

asan: ## the short tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(call build,build-asan,-DASAN=ON -DUBSAN=ON "-DCMAKE_C_FLAGS_RELEASE=-O1 -g")
	tests/run.sh build-asan -L quick

arm: release ## cross build for 64-bit ARM, the tests of its arithmetic under qemu, and the same bytes as here
	$(call build,build-arm,-DCMAKE_TOOLCHAIN_FILE=cmake/aarch64.cmake,arm)
	tests/run.sh build-arm -R 'test_(kernels|grad_ops|grad_model|golden_models)'
	tests/machines.sh $(BUILD)/hone "qemu-aarch64 build-arm/hone"

tsan: ## the short tests under ThreadSanitizer, with Clang: its OpenMP tells the sanitizer what waits for what
	$(call build,build-tsan,-DCMAKE_C_COMPILER=clang -DTSAN=ON "-DCMAKE_C_FLAGS_RELEASE=-O1 -g",fuzz)
	TSAN_OPTIONS="ignore_noninstrumented_modules=1 suppressions=$(CURDIR)/tests/tsan.supp $$TSAN_OPTIONS" tests/run.sh build-tsan -L quick

fuzz: ## one fuzzer for T seconds: make fuzz FUZZ=rows T=60
	$(call build,build-fuzz,-DCMAKE_C_COMPILER=clang -DHONE_FUZZ=ON -DHONE_TESTS=OFF -DASAN=ON \
	    -DUBSAN=ON "-DCMAKE_C_FLAGS_RELEASE=-O1 -g",fuzz,--target fuzz_$(FUZZ))
	mkdir -p build-fuzz/corpus/$(FUZZ)
	build-fuzz/fuzz_$(FUZZ) -max_total_time=$(T) -timeout=10 -artifact_prefix=build-fuzz/ \
	    build-fuzz/corpus/$(FUZZ) $(wildcard tests/fuzz/corpus/$(FUZZ))

bench: ## speed beside TRL and llama.cpp, into bench/results (PEERS=no|folder, WHAT=row,..)
	PEERS="$(PEERS)" bench/run.sh $(BUILD) $(if $(WHAT),--what $(WHAT))

random: ## a model of random weights for benches: make random OUT=1b.gguf [SHAPE="--type bf16 .."]
	$(call build,$(BUILD),,,--target random_model)
	$(BUILD)/random_model $(or $(OUT),$(error name the file: make random OUT=1b.gguf)) $(SHAPE)

demo: release ## the whole loop on a small real model
	@model=$$(tools/get-model.sh) && $(BUILD)/hone demo --model "$$model"

fmt: ## clang-format over the sources
	tools/setup.sh fmt
	find src include tests bench -name '*.[ch]' -print0 | xargs -0 clang-format -i

layers: ## no folder includes one above it
	tools/check_layers.sh

check: layers ## all that CI runs
	.ci/run

clean: ## remove what was built
	rm -rf build build-debug build-asan build-tsan build-fuzz build-arm

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16
