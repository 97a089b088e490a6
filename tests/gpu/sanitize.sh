#!/bin/sh
# Runs the GPU's kernels under compute-sanitizer's four tools, on a machine with a GPU and the CUDA toolkit: kcheck's small
# shapes, sampling, three golden models, a few tokens as graph and eager. The last line is "N passed, N failed".
# usage: sanitize.sh DIR-OF-TESTS PROGRAM GOLDEN MODEL [TOOL...], in the environment SANITIZE_JOBS (8 at once) and
# SANITIZE_SECONDS (600, the longest that one may take), SANITIZE_ONLY (a pattern for lines "tool name command").
set -u
tests=$1 program=$2 golden=$3 model=$4
shift 4
tools=${*:-memcheck racecheck initcheck synccheck}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

list() {
	for tool in $tools; do
		for op in $("$tests/kcheck" --device=cuda --list | grep -v '^ ' | tail -n +2); do
			for row in $("$tests/kcheck" --device=cuda --list --op="$op" | awk '$1 == "kernel" { print $2 }'); do
				echo "$tool kcheck-$op-$row $tests/kcheck --device=cuda --small --watchdog=600 --op=$op --row=$row"
			done
		done
		for case in llama-3-gqa3 gemma3-5to1 gemma2-window7; do
			echo "$tool golden-$case $tests/golden --device=cuda $golden $case"
		done
		echo "$tool sampling $tests/test_sample_cuda"
		for graph in on off; do
			echo "$tool story-$graph $program run $model --prompt-ids=1,2,3 --ignore-eos --max-tokens 12 --temperature 0.8 --top-k 40" \
				"--device cuda --graph $graph --context 256"
		done
	done
}

# one LOGS TOOL NAME COMMAND...: in parallel with others, since most of the time is the host's.
one='
logs=$1 tool=$2 name=$3
shift 3
start=$(date +%s)
if timeout "${SANITIZE_SECONDS:-600}" compute-sanitizer --tool "$tool" --target-processes all --error-exitcode 99 "$@" >"$logs/$tool-$name" 2>&1; then
	echo "ok      $tool $name, $(($(date +%s) - start)) s" | tee "$logs/$tool-$name.verdict"
else
	echo "FAILED  $tool $name, exit status $?, $(($(date +%s) - start)) s: $*" | tee "$logs/$tool-$name.verdict"
	head -n 60 "$logs/$tool-$name"
fi
'
list | grep -E "${SANITIZE_ONLY:-.}" | xargs -P "${SANITIZE_JOBS:-8}" -L 1 sh -c "$one" one "$logs"
passed=$(cat "$logs"/*.verdict | grep -c '^ok')
failed=$(cat "$logs"/*.verdict | grep -c '^FAILED')
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
