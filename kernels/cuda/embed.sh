#!/bin/sh
# embed.sh OUTPUT CUDA_VERSION "ARCHS" NAME=FATBIN...: writes the C file that carries the GPU code (src/hw/images.h).
# Without files it writes an empty list; CUDA_VERSION is then the reason, in words.
set -eu
out=$1 cuda=$2 archs=$3
shift 3
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
