/* registry.h - how every operation's kernel is chosen: one pure function for all of them.
 *
 * DESIGN. An operation's candidates are the rows of kernels/ops/<op>.def, best last. The choice is the last row whose
 * instruction sets are all offered and whose refuse() says nothing. It depends on the arguments alone: the machine is
 * looked at elsewhere, once. Every candidate that could not serve is told with its reason; a candidate that could
 * serve but stands before the chosen one is no refusal and is not listed.
 */
#ifndef OPS_REGISTRY_H
#define OPS_REGISTRY_H

#include <stddef.h>
#include <stdint.h>

/* Rows an operation may have. */
#define PICK_MAX_ROWS 16

/* One candidate: what its .def row says. */
struct kernel_row {
	const char *name;
	uint32_t needs;      /* enum isa bits */
	uint32_t properties; /* enum kernel_properties bits */
};

/* All candidates of an operation. Static storage. */
struct kernel_set {
	const char *op;
	const struct kernel_row *rows; /* best last */
	int n_rows;
	/* Why row `row` cannot serve `request` (the operation's own struct <op>_request), or NULL. */
	const char *(*refuse)(const void *request, int row);
};

struct refusal {
	const char *kernel, *reason; /* static storage */
};

struct pick {
	int row;            /* -1 where nothing serves */
	const char *kernel; /* its name; NULL where nothing serves. Static storage */
	int n_refused;
	struct refusal refused[PICK_MAX_ROWS]; /* in the order of the rows */
};

/* Chooses among `set` for `request` on a machine that offers the instruction sets `isa`. `forced` names the one row
 * to use, or is NULL.
 * VB_EUNSUPPORTED where nothing (or not the forced row) serves: the message holds the reasons; VB_EINVAL where `forced`
 * is no row's name: the message holds the names. `out` is filled with the refusals in every case. */
int registry_pick(const struct kernel_set *set, uint32_t isa, const void *request, const char *forced,
		  struct pick *out);

/* Why a row that needs `needs` cannot run where `isa` is offered, or NULL. Static storage. */
const char *registry_missing_isa(uint32_t needs, uint32_t isa);

#endif
