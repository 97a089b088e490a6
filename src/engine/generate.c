/* generate.c - the ways in: submit, step, generate, cancel, the engine's own thread. */
#include "step.h"

#include "base/mem.h"
#include "base/status.h"

#include <stdio.h>
#include <string.h>

/* ---- Who drives ---- */

bool engine_try_drive(struct vb_engine *e)
{
	pthread_mutex_lock(&e->lock);
	bool free_now = !e->driving;
	if (free_now) {
		e->driving = true;
		e->driver = pthread_self();
	}
	pthread_mutex_unlock(&e->lock);
	return free_now;
}

void engine_stop_driving(struct vb_engine *e)
{
	pthread_mutex_lock(&e->lock);
	e->driving = false;
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->lock);
}

int vb_step(struct vb_engine *e, bool *more)
{
	if (!e)
		FAIL(VB_EINVAL, "invalid call: vb_step: engine must not be NULL");
	if (!engine_try_drive(e))
		FAIL(VB_ESTATE, "engine busy: vb_step: steps are run elsewhere (another thread, or this callback's caller)");
	bool left = engine_run_step(e);
	engine_stop_driving(e);
	if (more)
		*more = left;
	return VB_OK;
}

/* ---- The engine's own thread ---- */

static void *thread_main(void *arg)
{
	struct vb_engine *e = arg;
	pthread_mutex_lock(&e->lock);
	for (;;) {
		while (!e->closing && (e->driving || (!e->inbox && !e->requests)))
			pthread_cond_wait(&e->changed, &e->lock);
		if (e->closing)
			break;
		e->driving = true;
		e->driver = pthread_self();
		pthread_mutex_unlock(&e->lock);
		engine_run_step(e);
		pthread_mutex_lock(&e->lock);
		e->driving = false;
		pthread_cond_broadcast(&e->changed);
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

int vb_engine_start(struct vb_engine *e)
{
	if (!e)
		FAIL(VB_EINVAL, "invalid call: vb_engine_start: engine must not be NULL");
	pthread_mutex_lock(&e->lock);
	bool has_thread = e->has_thread;
	int error = has_thread ? 0 : pthread_create(&e->thread, NULL, thread_main, e);
	if (!error)
		e->has_thread = true;
	pthread_mutex_unlock(&e->lock);
	if (has_thread)
		FAIL(VB_ESTATE, "already started: vb_engine_start: the engine has its thread");
	if (error)
		FAIL(VB_EDEVICE, "cannot start the engine's thread: %s", strerror(error));
	return VB_OK;
}

int vb_engine_stop(struct vb_engine *e)
{
	if (!e)
		FAIL(VB_EINVAL, "invalid call: vb_engine_stop: engine must not be NULL");
	pthread_mutex_lock(&e->lock);
	bool has_thread = e->has_thread;
	bool inside = has_thread && pthread_equal(e->thread, pthread_self());
	bool stopping = e->closing;
	if (has_thread && !inside)
		e->closing = true;
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->lock);
	if (inside)
		FAIL(VB_ESTATE, "not from a callback: vb_engine_stop: the thread cannot wait for itself");
	if (stopping)
		FAIL(VB_ESTATE, "engine busy: vb_engine_stop: another thread stops it");
	if (!has_thread)
		return VB_OK;
	pthread_join(e->thread, NULL);
	pthread_mutex_lock(&e->lock);
	e->has_thread = e->closing = false;
	/* Those inside vb_generate run the steps themselves from now on. */
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->lock);
	return VB_OK;
}

/* ---- Requests ---- */

int vb_submit(struct vb_engine *e, const struct vb_request *asked, vb_token_fn *on_token, vb_done_fn *on_done, void *user,
	      uint64_t *id)
{
	if (!e || !asked)
		FAIL(VB_EINVAL, "invalid call: vb_submit: engine and request must not be NULL");
	pthread_mutex_lock(&e->lock);
	bool closed = e->closed;
	pthread_mutex_unlock(&e->lock);
	if (closed)
		FAIL(VB_ESTATE, "engine busy: vb_submit: the engine is being closed");
	struct request *r;
	TRY(request_create(&r, e, asked, on_token, on_done, user));
	uint64_t given = engine_enqueue(e, r);
	if (id)
		*id = given;
	return VB_OK;
}

int vb_cancel_request(struct vb_engine *e, uint64_t id)
{
	if (!e)
		FAIL(VB_EINVAL, "invalid call: vb_cancel_request: engine must not be NULL");
	bool found = false;
	pthread_mutex_lock(&e->lock);
	for (int list = 0; list < 2 && !found; list++) {
		for (struct request *r = list ? e->inbox : e->requests; r && !found; r = r->next) {
			found = r->id == id;
			if (found)
				atomic_store(&r->cancelled, true);
		}
	}
	pthread_mutex_unlock(&e->lock);
	if (!found)
		FAIL(VB_ENOTFOUND, "no such request: %llu: it has ended, or never was", (unsigned long long)id);
	return VB_OK;
}

void vb_cancel(struct vb_engine *e)
{
	if (e)
		atomic_store_explicit(&e->cancel_all, true, memory_order_relaxed);
}

/* A thread that waits for its request. */
struct waiter {
	struct vb_engine *e;
	vb_token_fn *on_token;
	void *user;
	bool done;
	int status;
	struct vb_result *result;
	char message[512];
};

static int waiter_token(void *user, const struct vb_event *event)
{
	struct waiter *w = user;
	return w->on_token ? w->on_token(w->user, event) : 0;
}

static void waiter_done(void *user, int status, struct vb_result *result)
{
	struct waiter *w = user;
	*w->result = *result;
	*result = (struct vb_result){ 0 };
	if (status != VB_OK)
		snprintf(w->message, sizeof w->message, "%s", vb_errmsg());
	pthread_mutex_lock(&w->e->lock);
	w->status = status;
	w->done = true;
	pthread_cond_broadcast(&w->e->changed);
	pthread_mutex_unlock(&w->e->lock);
}

/* Waits for the request; where nobody drives, drives. */
static void wait_for(struct vb_engine *e, struct waiter *w)
{
	pthread_mutex_lock(&e->lock);
	while (!w->done) {
		if (e->driving || e->has_thread) {
			pthread_cond_wait(&e->changed, &e->lock);
			continue;
		}
		e->driving = true;
		e->driver = pthread_self();
		pthread_mutex_unlock(&e->lock);
		engine_run_step(e);
		pthread_mutex_lock(&e->lock);
		e->driving = false;
		pthread_cond_broadcast(&e->changed);
	}
	e->n_waiters--;
	pthread_mutex_unlock(&e->lock);
}

int vb_generate(struct vb_engine *e, const struct vb_request *asked, vb_token_fn *on_token, void *user,
		struct vb_result *result)
{
	if (!e || !asked || !result)
		FAIL(VB_EINVAL, "invalid call: vb_generate: engine, request and result must not be NULL");
	*result = (struct vb_result){ 0 };
	pthread_mutex_lock(&e->lock);
	bool inside = e->driving && pthread_equal(e->driver, pthread_self());
	if (!inside)
		e->n_waiters++;
	pthread_mutex_unlock(&e->lock);
	if (inside)
		FAIL(VB_ESTATE, "not from a callback: vb_generate: submit the request instead");
	struct waiter w = { .e = e, .on_token = on_token, .user = user, .result = result };
	struct request *r;
	int rc = request_create(&r, e, asked, waiter_token, waiter_done, &w);
	if (rc != VB_OK) {
		pthread_mutex_lock(&e->lock);
		e->n_waiters--;
		pthread_mutex_unlock(&e->lock);
		return rc;
	}
	engine_enqueue(e, r);
	wait_for(e, &w);
	if (w.status != VB_OK)
		FAIL(w.status, "%s", w.message);
	return VB_OK;
}
