/* gpu_graph.c - a GPU's events and graphs. */
#include "hw/gpu_internal.h"

#include "base/mem.h"
#include "base/status.h"

#include <math.h>

/* ---- Time ---- */

struct gpu_event {
	struct cu_event *event;
};

int gpu_event_create(struct gpu *g, struct gpu_event **out)
{
	*out = NULL;
	TRY(gpu_first_error(g));
	struct cu_event *event = NULL;
	struct gpu_event *e = mem_calloc(1, sizeof *e);
	if (!e)
		return VB_ENOMEM;
	int rc;
	if (gpu_enter(g)) {
		rc = gpu_failure(g, VB_EDEVICE, g->d.cuEventCreate(&event, 0), "cuEventCreate");
		gpu_leave(g);
	} else {
		rc = gpu_first_error(g);
	}
	if (rc != VB_OK) {
		mem_free(e);
		return rc;
	}
	e->event = event;
	*out = e;
	return VB_OK;
}

void gpu_event_destroy(struct gpu *g, struct gpu_event **e)
{
	if (*e && gpu_enter(g)) {
		gpu_note(g, g->d.cuEventDestroy((*e)->event), "cuEventDestroy");
		gpu_leave(g);
	}
	mem_free(*e);
	*e = NULL;
}

void gpu_event_record(struct gpu *g, struct gpu_event *e)
{
	if (!gpu_queue_open(g) || !gpu_enter(g))
		return;
	gpu_note(g, g->d.cuEventRecord(e->event, g->stream), "cuEventRecord");
	gpu_leave(g);
}

int gpu_event_wait(struct gpu *g, struct gpu_event *e)
{
	TRY(gpu_first_error(g));
	if (!gpu_enter(g))
		return gpu_first_error(g);
	gpu_note(g, g->d.cuEventSynchronize(e->event), "cuEventSynchronize");
	gpu_leave(g);
	return gpu_first_error(g);
}

double gpu_event_ms(struct gpu *g, struct gpu_event *from, struct gpu_event *to)
{
	float ms = NAN;
	if (!gpu_queue_open(g) || !gpu_enter(g))
		return NAN;
	cu_result rc = g->d.cuEventElapsedTime(&ms, from->event, to->event);
	gpu_note(g, rc, "cuEventElapsedTime");
	gpu_leave(g);
	return rc == CU_OK ? (double)ms : NAN;
}

/* ---- Graphs ---- */

struct gpu_graph {
	struct cu_graph_exec *exec;
};

int gpu_capture_begin(struct gpu *g)
{
	TRY(gpu_first_error(g));
	if (g->capturing)
		FAIL(VB_ESTATE, "cannot begin a capture on GPU %d: one is under way", g->index);
	if (!gpu_enter(g))
		return gpu_first_error(g);
	/* Other threads, with GPUs of their own, may allocate meanwhile. */
	cu_result rc = g->d.cuStreamBeginCapture(g->stream, CU_CAPTURE_THREAD_LOCAL);
	gpu_leave(g);
	g->capturing = rc == CU_OK;
	return gpu_failure(g, VB_EDEVICE, rc, "cuStreamBeginCapture");
}

int gpu_capture_end(struct gpu *g, struct gpu_graph **out)
{
	*out = NULL;
	if (!g->capturing)
		FAIL(VB_ESTATE, "cannot end a capture on GPU %d: none is under way", g->index);
	struct gpu_graph *graph = mem_calloc(1, sizeof *graph);
	struct cu_graph *captured = NULL;
	/* Whatever has failed: the queue leaves the capture. */
	g->capturing = false;
	if (gpu_enter(g)) {
		gpu_note(g, g->d.cuStreamEndCapture(g->stream, &captured), "cuStreamEndCapture");
		if (graph && gpu_queue_open(g))
			gpu_note(g, g->d.cuGraphInstantiateWithFlags(&graph->exec, captured, 0),
				 "cuGraphInstantiateWithFlags");
		/* Now, and not with its first launch: what it takes of the memory is taken. */
		if (graph && graph->exec && gpu_queue_open(g))
			gpu_note(g, g->d.cuGraphUpload(graph->exec, g->stream), "cuGraphUpload");
		if (captured)
			gpu_note(g, g->d.cuGraphDestroy(captured), "cuGraphDestroy");
		gpu_leave(g);
	}
	if (!graph)
		return VB_ENOMEM;
	if (!gpu_queue_open(g)) {
		gpu_graph_destroy(g, &graph);
		return gpu_first_error(g);
	}
	*out = graph;
	return VB_OK;
}

void gpu_graph_launch(struct gpu *g, struct gpu_graph *graph)
{
	if (!gpu_queue_open(g) || !gpu_enter(g))
		return;
	gpu_note(g, g->d.cuGraphLaunch(graph->exec, g->stream), "cuGraphLaunch");
	gpu_leave(g);
}

void gpu_graph_destroy(struct gpu *g, struct gpu_graph **graph)
{
	/* Graphs belong to no context. */
	if (*graph && (*graph)->exec)
		gpu_note(g, g->d.cuGraphExecDestroy((*graph)->exec), "cuGraphExecDestroy");
	mem_free(*graph);
	*graph = NULL;
}
