#!/bin/sh
# Fuzzes one target of tests/fuzz with clang's libFuzzer and sanitizers, from its corpus. What it finds lies in the
# folder build-fuzz. usage: tools/fuzz.sh TARGET SECONDS
set -eu
[ $# -eq 2 ] || { echo "usage: tools/fuzz.sh TARGET SECONDS" >&2; exit 2; }
cd "$(dirname "$0")/.."
target=$1
mkdir -p "build-fuzz/$target"
sources=$(ls src/base/*.c src/load/*.c src/text/*.c 2>/dev/null || true)
# shellcheck disable=SC2086
${CC:-clang} -std=c11 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
	-D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE -Iinclude -Isrc -I. "tests/fuzz/fuzz_$target.c" $sources \
	$(pkg-config --cflags --libs jansson libpcre2-8 libutf8proc) -lpthread -lm -ldl -o "build-fuzz/fuzz_$target"
exec "build-fuzz/fuzz_$target" -max_total_time="$2" -max_len=65536 -artifact_prefix=build-fuzz/ \
	"build-fuzz/$target" "tests/fuzz/corpus/$target"
