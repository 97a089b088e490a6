#!/bin/sh
# embed.sh OUTPUT CUDA_VERSION "ARCHS" NAME=FATBIN...: writes the C file that carries the GPU code (src/hw/images.h).
# Without files it writes an empty list; CUDA_VERSION is then the reason, in words.
set -eu
out=$1 cuda=$2 archs=$3
shift 3

# Machine code names each of its kernels in a section .nv.info.NAME.
kernels_of() {
	LC_ALL=C grep -a -o '\.nv\.info\.[A-Za-z0-9_]*' "$1" | sed 's/^\.nv\.info\.//' | LC_ALL=C sort -u
}

{
	echo '/* Written by kernels/cuda/embed.sh. */'
	echo '#include "hw/images.h"'
	i=0
	for pair in "$@"; do
		file=${pair#*=}
		case $file in /*) ;; *) file=$PWD/$file ;; esac
		printf '__asm__(".section .rodata\\n.balign 64\\nverbatim_image_%d:\\n.incbin \\"%s\\"\\nverbatim_image_%d_end:\\n.previous");\n' \
			$i "$file" $i
		echo "extern const unsigned char verbatim_image_$i[], verbatim_image_${i}_end[];"
		i=$((i + 1))
	done
	echo 'const struct image_file image_files[] = {'
	i=0
	for pair in "$@"; do
		echo "	{ \"${pair%%=*}\", verbatim_image_$i, verbatim_image_${i}_end },"
		i=$((i + 1))
	done
	echo '	{ NULL, NULL, NULL },'
	echo '};'
	echo 'const struct image_kernel image_kernels[] = {'
	i=0 all=
	for pair in "$@"; do
		kernels=$(kernels_of "${pair#*=}")
		if [ -z "$kernels" ]; then
			echo "embed.sh: no kernel found in ${pair#*=}: is there machine code in it (-Dgpu_archs)?" >&2
			exit 1
		fi
		for kernel in $kernels; do
			case " $all " in *" $kernel "*)
				echo "embed.sh: kernel $kernel stands in two files, the second is ${pair%%=*}" >&2
				exit 1
			esac
			all="$all $kernel"
			echo "	{ \"$kernel\", $i },"
		done
		i=$((i + 1))
	done
	echo '	{ NULL, 0 },'
	echo '};'
	if [ $# = 0 ]; then
		echo 'const struct hw_image image_built = { .present = false };'
		echo "const char image_absent_why[] = \"$cuda\";"
	else
		n=0 list=
		for a in $archs; do
			list="$list{ ${a%?}, ${a#"${a%?}"} }, "
			n=$((n + 1))
		done
		echo 'const struct hw_image image_built = {'
		echo "	.present = true, .cuda = { ${cuda%%.*}, ${cuda#*.} }, .n_sass = $n, .sass = { $list},"
		echo '	.has_ptx = true, .ptx = { 8, 0 }, .only_portable = true,'
		echo '};'
		echo 'const char image_absent_why[] = "";'
	fi
} >"$out"
