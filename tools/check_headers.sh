#!/bin/sh
# Every public header compiles alone as C11 and, where there is a C++ compiler, as C++17.
# usage: check_headers.sh CC INCLUDE_DIR HEADER...
set -eu
cc=$1
include=$2
shift 2
cxx=$(command -v c++ || command -v g++ || command -v clang++ || true)
for header; do
	"$cc" -x c -std=c11 -Wall -Wextra -Wpedantic -Wstrict-prototypes -Werror -fsyntax-only -I"$include" "$header"
	[ -z "$cxx" ] ||
		"$cxx" -x c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I"$include" "$header"
done
echo "$# headers compile alone as C11${cxx:+ and C++17}"
