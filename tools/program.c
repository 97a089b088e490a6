#include "program.h"

#include "output.h"

#include "base/status.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- Ctrl-C ---- */

static _Atomic(struct vb_engine *) interruptible;
static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
	(void)number;
	struct vb_engine *engine = atomic_load(&interruptible);
	if (!engine || interrupted)
		_exit(EXIT_INTERRUPTED);
	interrupted = 1;
	vb_cancel(engine);
}

void interrupt_cancels(struct vb_engine *engine)
{
	atomic_store(&interruptible, engine);
	struct sigaction action = { .sa_handler = on_interrupt };
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
}

bool was_interrupted(void)
{
	return interrupted != 0;
}

/* ---- Answers of the library ---- */

json_t *take_json(char *text, const char *what)
{
	json_t *v = NULL;
	int rc = text ? json_parse(&v, text, strlen(text), what) : VB_EINTERNAL;
	vb_free(text);
	if (rc != VB_OK)
		exit_for(rc);
	return v;
}

json_t *engine_info(const struct vb_engine *engine)
{
	char *text = NULL;
	json_t *info = vb_engine_info(engine, &text) == VB_OK ? take_json(text, "vb_engine_info") : NULL;
	return info ? info : json_object();
}

static const char *word(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));
	return text ? text : "?";
}

void describe_engine(const json_t *info, char out[512])
{
	int n = snprintf(out, 512, "%.300s: %s, %s, weights %s, on %s with %lld threads, context %lld, loaded in %.2f s", word(info, "model"),
		 word(info, "family"), word(info, "dtype"), word(info, "weight_format"), word(info, "device"),
		 (long long)json_integer_value(json_object_get(info, "threads")),
		 (long long)json_integer_value(json_object_get(info, "context")),
		 json_number_value(json_object_get(info, "load_s")));
	const json_t *graphs = json_object_get(info, "graphs");
	if (graphs)
		snprintf(out + n, (size_t)(512 - n), ", %lld graphs of up to %lld tokens in %.2f s",
			 (long long)json_integer_value(json_object_get(graphs, "n")),
			 (long long)json_integer_value(json_object_get(graphs, "most_tokens")),
			 json_number_value(json_object_get(graphs, "capture_s")));
}

void describe_gpu_memory(const json_t *info, char out[512])
{
	const json_t *gpu = json_object_get(json_object_get(info, "memory"), "gpu"), *v;
	const char *key;
	char size[32];
	out[0] = '\0';
	if (!gpu)
		return;
	int n = snprintf(out, 512, "GPU memory %s", human_bytes(size, json_number_value(json_object_get(gpu, "total"))));
	json_object_foreach((json_t *)gpu, key, v)
		if (strcmp(key, "total") != 0)
			n += snprintf(out + n, (size_t)(512 - n), "%s %s %s", strcmp(key, "driver") == 0 ? ":" : ",", key,
				      human_bytes(size, json_number_value(v)));
	snprintf(out + n, (size_t)(512 - n), "\n");
}

void copy_key(json_t *to, const json_t *from, const char *key)
{
	json_t *v = json_object_get(from, key);
	if (v)
		json_object_set(to, key, v);
}
