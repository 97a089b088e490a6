#!/bin/sh
# Makes one static library out of several, in which only vb_* are global symbols.
# usage: make_archive.sh OUT.a IN.a...
set -eu
out=$1
shift
object=${out%.a}.o
${LD:-ld} -r -o "$object" --whole-archive "$@"
${OBJCOPY:-objcopy} --wildcard --keep-global-symbol='vb_*' "$object"
rm -f "$out"
${AR:-ar} rcs "$out" "$object"
rm "$object"
