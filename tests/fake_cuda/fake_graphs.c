/* fake_graphs.c - captures and the graphs that come of them. */
#include "fake_internal.h"

#include <stdlib.h>

static struct cu_graph *graphs;

void *make_graph(size_t size, int *count)
{
	struct cu_graph *g = calloc(1, size);
	if (!g)
		abort();
	g->next = graphs;
	g->count = count;
	++*count;
	return graphs = g;
}

static cu_result destroy_graph(const struct cu_graph *graph)
{
	struct cu_graph **g = &graphs, *found;
	while (*g && *g != graph)
		g = &(*g)->next;
	found = *g;
	if (!found)
		return misuse(INVALID_HANDLE);
	*g = found->next;
	--*found->count;
	drop_tasks(&found->tasks);
	free(found);
	return CU_OK;
}

void destroy_graphs(void)
{
	while (graphs)
		destroy_graph(graphs);
}

void drop_capture(struct cu_stream *s)
{
	if (s->capturing)
		destroy_graph(s->capturing);
	s->capturing = NULL;
}

bool spoils_capture(void)
{
	bool captures = false;
	for (struct object *o = current()->objects; o; o = o->next) {
		struct cu_stream *s = (struct cu_stream *)o;
		if (o->kind == STREAM && s->capturing && pthread_equal(s->thread, pthread_self()))
			captures = s->invalidated = true;
	}
	return captures;
}

cu_result cuStreamBeginCapture(struct cu_stream *stream, unsigned mode)
{
	ENTER_CONTEXT(cuStreamBeginCapture);
	if (!link_to(stream, STREAM) || stream->capturing || mode != CU_CAPTURE_THREAD_LOCAL)
		return leave(misuse(INVALID_VALUE));
	stream->capturing = make_graph(sizeof *stream->capturing, &fake.graphs);
	stream->invalidated = false;
	stream->thread = pthread_self();
	return leave(CU_OK);
}

cu_result cuStreamEndCapture(struct cu_stream *stream, struct cu_graph **out)
{
	*out = NULL;
	ENTER_CONTEXT(cuStreamEndCapture);
	if (!link_to(stream, STREAM) || !stream->capturing || !pthread_equal(stream->thread, pthread_self()))
		return leave(misuse(INVALID_VALUE));
	if (stream->invalidated) {
		drop_capture(stream);
		stream->invalidated = false;
		return leave(CAPTURE_INVALIDATED);
	}
	*out = stream->capturing;
	stream->capturing = NULL;
	return leave(CU_OK);
}

cu_result cuGraphDestroy(struct cu_graph *graph)
{
	ENTER(cuGraphDestroy);
	return leave(destroy_graph(graph));
}

/* What a graph needs of the GPU's memory it has from here on: a driver would take it with the first launch at the latest. */
cu_result cuGraphUpload(struct cu_graph_exec *exec, struct cu_stream *stream)
{
	ENTER_CONTEXT(cuGraphUpload);
	if (!link_to(stream, STREAM) || stream->capturing)
		return leave(misuse(INVALID_HANDLE));
	size_t bytes = fake.graph_bytes * (size_t)exec->graph.tasks.n;
	if (bytes > current()->gpu->memory - current()->used)
		return leave(CU_OUT_OF_MEMORY);
	exec->bytes += bytes;
	exec->context->used += bytes;
	return leave(CU_OK);
}

cu_result cuGraphLaunch(struct cu_graph_exec *exec, struct cu_stream *stream)
{
	ENTER_CONTEXT(cuGraphLaunch);
	if (!link_to(stream, STREAM) || stream->capturing)
		return leave(misuse(INVALID_HANDLE));
	for (int i = 0; i < exec->graph.tasks.n; i++)
		append(&stream->queue, &exec->graph.tasks.task[i]);
	return leave(CU_OK);
}

cu_result cuGraphExecDestroy(struct cu_graph_exec *exec)
{
	ENTER(cuGraphExecDestroy);
	if (is_alive(exec->context))
		exec->context->used -= exec->bytes;
	return leave(destroy_graph(&exec->graph));
}
