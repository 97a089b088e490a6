/* rope.c - rotary configuration to frequencies.
 *
 * inv_freq_i = theta^(-2i/R) before scaling. Sources: Su et al., "RoFormer", 2021 (default); Chen et al., "Extending
 * Context Window of Large Language Models via Positional Interpolation", 2023 (linear); the NTK-aware scaling of
 * bloc97 and emozilla (dynamic); Peng et al., "YaRN", 2023; Ding et al., "LongRoPE", 2024; Llama 3.1's scaling by
 * wavelength. Where papers and Hugging Face's transformers differ, this follows transformers, which checkpoints are
 * tested with. Frequencies are computed in double and rounded once; transformers computes in float32, so the two may
 * differ by an ulp.
 */
#include "model/decoder.h"

#include "base/status.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

static double base_freq(double theta, int32_t i, int32_t dim)
{
	return pow(theta, -2.0 * i / dim);
}

/* Long wavelengths are divided by the factor, short ones kept, those between blended. */
static double llama3_freq(const struct rope_config *r, double original, double freq)
{
	double wavelength = 2 * pi / freq;
	if (wavelength > original / r->low_freq_factor)
		return freq / r->factor;
	if (wavelength < original / r->high_freq_factor)
		return freq;
	double smooth = (original / wavelength - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
	return (1 - smooth) * freq / r->factor + smooth * freq;
}

static double yarn_correction_dim(double rotations, int32_t dim, double theta, double original)
{
	return dim * log(original / (rotations * 2 * pi)) / (2 * log(theta));
}

static void yarn_freqs(const struct rope_config *r, double original, double factor, int32_t dim, float *out)
{
	double low = yarn_correction_dim(r->beta_fast, dim, r->theta, original);
	double high = yarn_correction_dim(r->beta_slow, dim, r->theta, original);
	if (r->truncate) {
		low = floor(low);
		high = ceil(high);
	}
	low = fmax(low, 0);
	high = fmin(high, dim - 1);
	if (low == high)
		high += 0.001;
	for (int32_t i = 0; i < dim / 2; i++) {
		double ramp = fmin(fmax((i - low) / (high - low), 0), 1);
		double freq = base_freq(r->theta, i, dim);
		out[i] = (float)(freq / factor * ramp + freq * (1 - ramp));
	}
}

static double yarn_mscale(double scale, double mscale)
{
	return scale <= 1 ? 1 : 0.1 * mscale * log(scale) + 1;
}

static double yarn_attention_factor(const struct rope_config *r, double factor)
{
	if (r->attention_factor > 0)
		return r->attention_factor;
	if (r->mscale > 0 && r->mscale_all_dim > 0)
		return yarn_mscale(factor, r->mscale) / yarn_mscale(factor, r->mscale_all_dim);
	return yarn_mscale(factor, 1);
}

static int longrope(const struct model_config *c, const struct rope_config *r, double original, float *freqs,
		    float *long_freqs, struct rope_params *out)
{
	int32_t dim = out->rotary_dim;
	if (r->n_factors != dim / 2)
		FAIL(VB_EFORMAT, "wrong length: %s: short_factor and long_factor of rope_scaling: %d entries, but "
				 "%d dimensions are rotated and need %d", c->where, r->n_factors, dim, dim / 2);
	for (int32_t i = 0; i < dim / 2; i++) {
		double freq = base_freq(r->theta, i, dim);
		freqs[i] = (float)(freq / r->short_factor[i]);
		long_freqs[i] = (float)(freq / r->long_factor[i]);
	}
	double factor = r->factor > 0 ? r->factor : (double)c->max_position / original;
	double attention = r->attention_factor;
	if (attention <= 0)
		attention = factor <= 1 ? 1 : sqrt(1 + log(factor) / log(original));
	out->kind = ROPE_TABLE_LONG;
	out->inv_freq_long = long_freqs;
	out->switch_len = (int64_t)original;
	out->attention_factor = (float)attention;
	return VB_OK;
}

int rope_build(struct program *p, const struct model_config *c, const struct rope_config *r,
	       struct rope_params *out)
{
	/* Truncated to an integer, as transformers does; the rotated part must be even. */
	int32_t dim = (int32_t)((double)c->head_dim * r->partial_rotary_factor);
	*out = (struct rope_params){ .rotary_dim = dim, .attention_factor = 1 };
	if (r->kind == ROPE_NONE || dim == 0) {
		out->rotary_dim = 0;
		return VB_OK;
	}
	if (dim % 2)
		FAIL(VB_EFORMAT, "odd number of rotated dimensions: %s: head_dim %lld * partial_rotary_factor %g = %d",
		     c->where, (long long)c->head_dim, r->partial_rotary_factor, dim);
	float *freqs = program_keep(p, (size_t)dim / 2 * sizeof *freqs);
	float *long_freqs = program_keep(p, (size_t)dim / 2 * sizeof *long_freqs);
	if (!freqs || !long_freqs)
		return VB_ENOMEM;
	out->inv_freq = freqs;
	double original = (double)(r->original_max_position > 0 ? r->original_max_position : c->max_position);
	if (r->kind == ROPE_LONGROPE)
		return longrope(c, r, original, freqs, long_freqs, out);
	if (r->kind == ROPE_YARN) {
		double factor = r->factor > 0 ? r->factor : (double)c->max_position / original;
		yarn_freqs(r, original, factor, dim, freqs);
		out->attention_factor = (float)yarn_attention_factor(r, factor);
		return VB_OK;
	}
	for (int32_t i = 0; i < dim / 2; i++) {
		double freq = base_freq(r->theta, i, dim);
		if (r->kind == ROPE_LINEAR)
			freq /= r->factor;
		else if (r->kind == ROPE_LLAMA3)
			freq = llama3_freq(r, original, freq);
		freqs[i] = (float)freq;
	}
	if (r->kind == ROPE_DYNAMIC) {
		if (dim < 4)
			FAIL(VB_EFORMAT, "too few rotated dimensions for dynamic rope scaling: %s: %d", c->where, dim);
		out->kind = ROPE_TABLE_NTK;
		out->theta = r->theta;
		out->factor = r->factor;
		out->switch_len = c->max_position;
	}
	return VB_OK;
}

/* 0 or 1 where longrope switches, the length itself (and 4 more, to stay clear of those) where frequencies follow it. */
static uint32_t rope_key(const struct model_config *c, const struct rope_config *r, int64_t prompt_len)
{
	int64_t original = r->original_max_position > 0 ? r->original_max_position : c->max_position;
	if (r->kind == ROPE_LONGROPE)
		return prompt_len > original;
	if (r->kind == ROPE_DYNAMIC && prompt_len > c->max_position)
		return (uint32_t)prompt_len + 4;
	return 0;
}

uint32_t model_rope_key(const struct model_config *c, int64_t prompt_len)
{
	uint32_t first = rope_key(c, &c->rope[0], prompt_len);
	uint32_t second = c->rope_local ? rope_key(c, &c->rope[1], prompt_len) : 0;
	/* A length says everything; two switches are two bits. */
	return first > 1 ? first : second > 1 ? second : first | second << 1;
}
