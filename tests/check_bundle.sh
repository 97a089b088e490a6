#!/bin/sh
# Runs what the bundle carries, on the machine where it was unpacked; the last line is "N passed, N failed". Without a GPU that
# can be used only what runs on the CPU is tested, or, with --gpu, it fails. usage: ./check.sh [--gpu]
set -u
cd "$(dirname "$0")"
need=${1:-}
export LD_LIBRARY_PATH="$PWD/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" VERBATIM_TEST_ROOT="$PWD"
passed=0 failed=0

# check NAME COMMAND...: its output is shown where it fails.
check() {
	name=$1 start=$(date +%s)
	shift
	if "$@" >check.log 2>&1; then
		echo "ok      $name, $(($(date +%s) - start)) s"
		passed=$((passed + 1))
	else
		echo "FAILED  $name, exit status $?: $*"
		tail -n 40 check.log
		failed=$((failed + 1))
	fi
}

bin/verbatim explain
for test in tests/test_*; do
	check "$(basename "$test")" "$test"
done
check 'golden models' tests/golden golden
check 'the law on the CPU' bin/verbatim prove models/demo --device cpu --cases 20
if bin/verbatim run models/demo 'Once upon a time' --max-tokens 8 --device cuda >check.log 2>&1; then
	check 'golden models on the GPU' tests/golden --device=cuda golden
	check 'kernels on the GPU' tests/kcheck --device=cuda
	check 'attention on the GPU' tests/attention_gpu
	check 'the law on the GPU' bin/verbatim prove models/demo --device cuda --cases 20
	for graph in on off; do
		check "a story, graph $graph" bin/verbatim run models/demo 'Once upon a time' --device cuda --graph "$graph"
	done
else
	echo "no GPU is tested: $(tail -n 1 check.log)"
	[ "$need" != --gpu ] || failed=$((failed + 1))
fi
rm -f check.log
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
