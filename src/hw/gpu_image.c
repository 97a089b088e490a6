/* gpu_image.c - which of the GPU code that a program carries runs on which GPU. All on numbers, never on strings. */
#include "hw/hw.h"

#include <ctype.h>
#include <stdio.h>

int hw_version_compare(struct hw_version a, struct hw_version b)
{
	return a.major != b.major ? a.major - b.major : a.minor - b.minor;
}

bool hw_version_known(struct hw_version v)
{
	return v.major >= 0;
}

/* At most 6 digits, no leading zeros; *end is behind them. */
static bool parse_number(const char *text, const char **end, int *out)
{
	int n = 0;
	*out = 0;
	for (; isdigit((unsigned char)text[n]); n++) {
		if (n == 6 || (n == 1 && text[0] == '0'))
			return false;
		*out = *out * 10 + (text[n] - '0');
	}
	*end = text + n;
	return n > 0;
}

bool hw_version_parse(const char *text, struct hw_version *out)
{
	int parts[3] = { 0, 0, 0 };
	*out = (struct hw_version){ -1, 0 };
	if (!text)
		return true;
	for (int i = 0; i < 3; i++) {
		if (!parse_number(text, &text, &parts[i]))
			return false;
		if (*text != '.' || i == 2)
			break;
		text++;
	}
	if (*text)
		return false;
	*out = (struct hw_version){ parts[0], parts[1] };
	return true;
}

/* Machine code runs on its own major compute capability, from its minor up; any driver of its CUDA's major will do. */
static const struct hw_version *find_sass(const struct hw_gpu *gpu)
{
	const struct hw_version *best = NULL;
	for (int i = 0; i < gpu->image.n_sass; i++) {
		const struct hw_version *s = &gpu->image.sass[i];
		if (s->major == gpu->capability.major && s->minor <= gpu->capability.minor &&
		    (!best || hw_version_compare(*s, *best) > 0))
			best = s;
	}
	return best;
}

static bool portable_runs(const struct hw_gpu *gpu, char reason[HW_REASON_MAX])
{
	const struct hw_image *image = &gpu->image;
	const struct hw_version *sass = find_sass(gpu), driver = gpu->driver_cuda;
	if (sass && driver.major >= image->cuda.major) {
		snprintf(reason, HW_REASON_MAX, "machine code for %d.%d", sass->major, sass->minor);
		return true;
	}
	bool above_ptx = image->has_ptx && hw_version_compare(gpu->capability, image->ptx) >= 0;
	if (above_ptx && hw_version_compare(driver, image->cuda) >= 0) {
		snprintf(reason, HW_REASON_MAX, "PTX for %d.%d, compiled by the driver", image->ptx.major,
			 image->ptx.minor);
		return true;
	}
	if (sass || above_ptx)
		snprintf(reason, HW_REASON_MAX, "the driver's CUDA %d.%d is older than the image's %d.%d: update the driver",
			 driver.major, driver.minor, image->cuda.major, image->cuda.minor);
	else
		snprintf(reason, HW_REASON_MAX, "the image has no code for compute capability %d.%d",
			 gpu->capability.major, gpu->capability.minor);
	return false;
}

static bool hopper_runs(const struct hw_gpu *gpu, char reason[HW_REASON_MAX])
{
	const struct hw_version hopper = { 9, 0 }, cuda = { 12, 3 }, *sass = find_sass(gpu);
	if (gpu->image.only_portable)
		snprintf(reason, HW_REASON_MAX, "the image has no kernels of this family");
	else if (hw_version_compare(gpu->capability, hopper) != 0)
		snprintf(reason, HW_REASON_MAX, "needs compute capability 9.0 exactly, the GPU has %d.%d",
			 gpu->capability.major, gpu->capability.minor);
	else if (hw_version_compare(gpu->driver_cuda, cuda) < 0)
		snprintf(reason, HW_REASON_MAX, "needs a driver of CUDA 12.3 or later, this one's is %d.%d",
			 gpu->driver_cuda.major, gpu->driver_cuda.minor);
	else if (!sass || hw_version_compare(*sass, hopper) != 0)
		snprintf(reason, HW_REASON_MAX, "the image has no machine code for 9.0");
	else if (gpu->driver_cuda.major < gpu->image.cuda.major)
		snprintf(reason, HW_REASON_MAX, "the driver's CUDA %d.%d is older than the image's %d.%d: update the driver",
			 gpu->driver_cuda.major, gpu->driver_cuda.minor, gpu->image.cuda.major, gpu->image.cuda.minor);
	else {
		snprintf(reason, HW_REASON_MAX, "machine code for 9.0");
		return true;
	}
	return false;
}

bool hw_gpu_runs(const struct hw_gpu *gpu, enum hw_family family, char reason[HW_REASON_MAX])
{
	const char *missing = gpu->loaded == HW_NOT_LOADED ? gpu->why :
			      !gpu->image.present ? "the program carries no GPU kernels" :
			      !hw_version_known(gpu->capability) ? "the GPU's compute capability is unknown" :
			      !hw_version_known(gpu->driver_cuda) ? "the driver's CUDA version is unknown" :
			      !hw_version_known(gpu->image.cuda) ? "the CUDA version that built the image is unknown" :
			      NULL;
	if (missing) {
		snprintf(reason, HW_REASON_MAX, "%s", missing);
		return false;
	}
	return family == HW_HOPPER ? hopper_runs(gpu, reason) : portable_runs(gpu, reason);
}

uint32_t hw_gpu_isa(const struct hw_gpu *gpu)
{
	char unused[HW_REASON_MAX];
	if (!hw_gpu_runs(gpu, HW_PORTABLE, unused))
		return 0;
	return ISA_CUDA | (hw_gpu_runs(gpu, HW_HOPPER, unused) ? ISA_CUDA_HOPPER : 0);
}
