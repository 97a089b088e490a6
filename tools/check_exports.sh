#!/bin/sh
# The libraries export what the headers declare VB_API, and nothing else.
# usage: check_exports.sh LIB.so LIB.a HEADER...
set -eu
so=$1
archive=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A declaration may go over several lines; the name is the word before the first parenthesis.
cat "$@" | grep -v "^#" | tr '\n' ' ' | grep -oE 'VB_API [^;(]*\(' | grep -oE '[a-z_0-9]+ *\($' | tr -d ' (' | sort -u >"$work/declared"
# The linkers' and sanitizers' own symbols are not ours to hide.
nm -D --defined-only "$so" | awk '{ print $NF }' | sort -u >"$work/so"
nm -g --defined-only "$archive" | awk 'NF == 3 { print $3 }' | sort -u >"$work/archive"
[ -s "$work/declared" ] || { echo "check_exports: no VB_API declaration found"; exit 1; }
status=0
for library in so archive; do
	if ! diff "$work/declared" "$work/$library" >"$work/diff"; then
		echo "check_exports: declared (<) and exported by the $library (>) differ:"
		cat "$work/diff"
		status=1
	fi
done
[ $status != 0 ] || echo "$(wc -l <"$work/declared") functions declared and exported, nothing else"
exit $status
