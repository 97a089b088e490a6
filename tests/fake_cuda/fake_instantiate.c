/* fake_instantiate.c - the call that a driver too old to be used lacks. */
#include "fake_internal.h"

cu_result cuGraphInstantiateWithFlags(struct cu_graph_exec **out, struct cu_graph *graph, unsigned long long flags)
{
	ENTER_CONTEXT(cuGraphInstantiateWithFlags);
	if (flags)
		return leave(misuse(INVALID_VALUE));
	struct cu_graph_exec *e = make_graph(sizeof *e, &fake.execs);
	for (int i = 0; i < graph->tasks.n; i++)
		append(&e->graph.tasks, &graph->tasks.task[i]);
	e->context = current();
	*out = e;
	return leave(CU_OK);
}
