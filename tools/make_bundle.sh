#!/bin/sh
# Packs the program, its tests and their data for a machine that has a GPU but nothing to build with: glibc and an NVIDIA driver
# are enough. Run by `ninja bundle`. usage: make_bundle.sh OUTPUT.tar.gz SOURCE PROGRAM TEST...
set -eu
out=$1 source=$2 program=$3
shift 3
name=$(basename "$out" .tar.gz)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
top=$stage/$name
mkdir -p "$top/bin" "$top/tests" "$top/lib" "$top/models"

# Libraries that every machine with glibc has; cmocka is carried along, since systems have no archive of it.
check_libraries() {
	ldd "$1" >"$stage/ldd"
	while read -r library arrow path rest; do
		case $library in
		linux-vdso.so.1 | /lib*/ld-linux*.so.* | libc.so.6 | libm.so.6 | libdl.so.2 | libpthread.so.0 | librt.so.1) ;;
		libcmocka.so.*) cp "$path" "$top/lib/$library" ;;
		*)
			echo "bundle: error: $1 needs $library ($arrow $path $rest), which another machine may not have: set the" \
				"build directory up with -Dprefer_static=true, and install the library's archive" >&2
			exit 1
			;;
		esac
	done <"$stage/ldd"
}

check_libraries "$program"
cp "$program" "$top/bin/"
for test in "$@"; do
	check_libraries "$test"
	cp "$test" "$top/tests/"
done
cp -r "$source/models/demo" "$top/models/demo"
cp -r "$source/tests/golden" "$top/golden"
cp "$source/tests/check_bundle.sh" "$top/check.sh"
cp "$source/tests/gpu/sanitize.sh" "$top/sanitize.sh"
cp "$source/LICENSE" "$top/"
tar -C "$stage" -czf "$out" "$name"
echo "bundle: $out: $(wc -c <"$out") bytes"
