/* fake_kernels.c - modules and their functions. */
#define _GNU_SOURCE /* memmem */
#include "fake_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FATBIN_MAGIC 0xba55ed50u

/* An image is a fat binary, or a text for tests: "fake: NAME NAME", "broken: ..." or "foreign: ...". */
cu_result cuModuleLoadDataEx(struct cu_module **out, const void *image, unsigned n_options, unsigned *options, void **values)
{
	ENTER_CONTEXT(cuModuleLoadDataEx);
	unsigned magic;
	unsigned long long size;
	memcpy(&magic, image, sizeof magic);
	if (magic == FATBIN_MAGIC) {
		memcpy(&size, (const char *)image + 8, sizeof size);
		size += 16;
	} else {
		size = strlen(image);
		if (n_options == 2 && options[0] == CU_JIT_LOG && options[1] == CU_JIT_LOG_SIZE)
			snprintf(values[0], (size_t)values[1], "log of %s", (const char *)image);
		if (strncmp(image, "broken", 6) == 0)
			return leave(INVALID_IMAGE);
		if (strncmp(image, "foreign", 7) == 0)
			return leave(NO_BINARY_FOR_GPU);
		if (n_options == 2)
			*(char *)values[0] = 0;
	}
	struct cu_module *m = make(MODULE, sizeof *m);
	m->image = image;
	m->size = size;
	*out = m;
	return leave(CU_OK);
}

cu_result cuModuleUnload(struct cu_module *module)
{
	ENTER_CONTEXT(cuModuleUnload);
	return leave(destroy(module, MODULE));
}

static bool matches(const char *pattern, const char *name)
{
	size_t n = strlen(pattern);
	return pattern[n - 1] == '*' ? strncmp(pattern, name, n - 1) == 0 : strcmp(pattern, name) == 0;
}

cu_result cuModuleGetFunction(struct cu_function **out, struct cu_module *module, const char *name)
{
	ENTER_CONTEXT(cuModuleGetFunction);
	if (!link_to(module, MODULE))
		return leave(misuse(INVALID_HANDLE));
	const struct fake_kernel *kernel = NULL;
	for (const struct fake_kernel *k = fake.kernel; k < fake.kernel + FAKE_KERNELS && k->name; k++)
		if (matches(k->name, name))
			kernel = k;
	if (!memmem(module->image, module->size, name, strlen(name)) || (fake.only_known && !kernel))
		return leave(misuse(NOT_FOUND)); /* a tool that watches every call would report it */
	int i = 0;
	while (i < module->n_functions && strcmp(module->name[i], name) != 0)
		i++;
	if (i == MAX_FUNCTIONS)
		abort();
	if (i == module->n_functions) {
		module->name[module->n_functions++] = strdup(name);
		module->function[i] = (struct cu_function){ kernel, 0 };
	}
	*out = &module->function[i];
	return leave(CU_OK);
}

bool is_function(const struct cu_function *f)
{
	for (const struct object *o = current()->objects; o; o = o->next) {
		const struct cu_module *m = (const struct cu_module *)o;
		if (o->kind == MODULE && f >= m->function && f < m->function + m->n_functions)
			return true;
	}
	return false;
}

cu_result cuFuncGetAttribute(int *out, unsigned attribute, struct cu_function *f)
{
	ENTER_CONTEXT(cuFuncGetAttribute);
	if (!is_function(f))
		return leave(misuse(INVALID_HANDLE));
	switch (attribute) {
	case CU_FUNCTION_MAX_THREADS: *out = f->kernel ? f->kernel->max_threads : MAX_THREADS; break;
	case CU_FUNCTION_REGISTERS: *out = f->kernel ? f->kernel->registers : 32; break;
	case CU_FUNCTION_STATIC_SHARED: *out = f->kernel ? f->kernel->static_shared : 0; break;
	case CU_FUNCTION_DYNAMIC_SHARED: *out = f->dynamic_shared; break;
	default: return leave(misuse(INVALID_VALUE));
	}
	return leave(CU_OK);
}

cu_result cuFuncSetAttribute(struct cu_function *f, unsigned attribute, int value)
{
	ENTER_CONTEXT(cuFuncSetAttribute);
	if (!is_function(f) || attribute != CU_FUNCTION_DYNAMIC_SHARED)
		return leave(misuse(INVALID_VALUE));
	if (value < 0 || value + (f->kernel ? f->kernel->static_shared : 0) > current()->gpu->shared_memory)
		return leave(INVALID_VALUE);
	f->dynamic_shared = value;
	return leave(CU_OK);
}

cu_result cuOccupancyMaxActiveBlocksPerMultiprocessor(int *out, struct cu_function *f, int threads, size_t shared_memory)
{
	ENTER_CONTEXT(cuOccupancyMaxActiveBlocksPerMultiprocessor);
	if (!is_function(f) || threads < 1)
		return leave(misuse(INVALID_VALUE));
	*out = threads > MAX_THREADS ? 0 : 2048 / threads;
	int by_memory = shared_memory ? (int)((size_t)current()->gpu->shared_memory / shared_memory) : *out;
	if (by_memory < *out)
		*out = by_memory;
	return leave(CU_OK);
}
