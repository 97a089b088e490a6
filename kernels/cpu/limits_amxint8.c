#include "amx.h"
#include "kernels/ops/limits.h"

/* A tile instruction takes 52 cycles and one may start every 16. */
#define CHAINS 4
/* One does the work of so many vector instructions, and its sums grow by as much. */
#define FEWER 16
#define PRODUCTS (16 * 16 * 64)

const char *limits_amxint8_refuse(const struct limits_request *r)
{
	return r->work != LIMITS_MULTIPLY || r->type != DTYPE_I8 ? "multiplies bytes only" : NULL;
}

void limits_amxint8(const struct limits_args *a, struct limits_result *out)
{
	struct amx_config config = { 0 };
	_Alignas(64) int8_t x[64 * 16], w[64 * 16];
	_Alignas(64) int32_t sum[CHAINS][256];
	*out = (struct limits_result){ 0 };
	for (int i = 0; i < 64 * 16; i++) {
		x[i] = (int8_t)(a->x);
		w[i] = (int8_t)(a->w);
	}
	for (int i = 0; i < 6; i++)
		amx_shape(&config, i, 16, 64);
	amx_begin(&config);
	_tile_zero(0);
	_tile_zero(1);
	_tile_zero(2);
	_tile_zero(3);
	_tile_loadd(4, x, 64);
	_tile_loadd(5, w, 64);
	for (int64_t i = 0; i < a->rounds / FEWER; i++) {
		_tile_dpbssd(0, 4, 5);
		_tile_dpbssd(1, 4, 5);
		_tile_dpbssd(2, 4, 5);
		_tile_dpbssd(3, 4, 5);
	}
	_tile_stored(0, sum[0], 64);
	_tile_stored(1, sum[1], 64);
	_tile_stored(2, sum[2], 64);
	_tile_stored(3, sum[3], 64);
	_tile_release();
	for (int c = 0; c < CHAINS; c++)
		for (int i = 0; i < 256; i++)
			out->total += (double)sum[c][i];
	out->flops = 2.0 * PRODUCTS * CHAINS * (double)(a->rounds / FEWER);
}
