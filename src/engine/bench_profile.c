/* bench_profile.c - one run of a benchmark, taken apart by kind of operation, as JSON. */
#include "bench_profile.h"

#include "base/status.h"

/* What the machine would need for a row at the least: the longer of its bytes and its arithmetic. */
static double least_s(const struct profile_row *row, double read_bytes_s, double flops_s)
{
	double moved = row->bytes / read_bytes_s;
	double computed = row->flops > 0 && flops_s > 0 ? row->flops / flops_s : 0;
	return moved > computed ? moved : computed;
}

static json_t *row_json(const char *kind, const struct profile_row *row, double total_s, double steps, double read_bytes_s,
			double flops_s)
{
	json_t *o = json_pack("{s:s, s:f, s:f, s:f}", "kind", kind, "ms", row->seconds / steps * 1e3, "share",
			      row->seconds / total_s, "runs", (double)row->runs / steps);
	if (!o || row->bytes <= 0 || row->seconds <= 0)
		return o;
	json_object_set_new(o, "bytes", json_real(row->bytes / steps));
	json_object_set_new(o, "gb_s", json_real(row->bytes / row->seconds / 1e9));
	if (row->flops > 0) {
		json_object_set_new(o, "flops", json_real(row->flops / steps));
		json_object_set_new(o, "gflop_s", json_real(row->flops / row->seconds / 1e9));
	}
	json_object_set_new(o, "of_limit", json_real(least_s(row, read_bytes_s, flops_s) / row->seconds));
	return o;
}

json_t *profile_json(const struct profile *f, double total_s, int64_t steps, const struct machine_speed *speed)
{
	json_t *kinds = json_array();
	double n = (double)steps, covered = f->wait_s;
	for (int i = 0; i < PROFILE_N_KINDS; i++) {
		if (!f->row[i].runs)
			continue;
		covered += f->row[i].seconds;
		double flops_s = i == PROFILE_ATTENTION ? speed->attention_flops_s : speed->flops_s;
		json_array_append_new(kinds, row_json(profile_kind_name((enum profile_kind)i), &f->row[i], total_s, n,
						      speed->read_bytes_s, flops_s));
	}
	struct profile_row waiting = { .seconds = f->wait_s }, other = { .seconds = total_s > covered ? total_s - covered : 0 };
	for (int i = 0; i < PROFILE_N_KINDS; i++)
		waiting.runs += f->row[i].runs;
	other.runs = steps;
	json_array_append_new(kinds, row_json("waiting", &waiting, total_s, n, 0, 0));
	json_array_append_new(kinds, row_json("other", &other, total_s, n, 0, 0));
	return json_pack("{s:I, s:f, s:o}", "steps", (json_int_t)steps, "step_ms", total_s / n * 1e3, "kinds", kinds);
}
