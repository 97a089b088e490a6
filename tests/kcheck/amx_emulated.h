/* amx_emulated.h - tile instructions in C, included before a kernel's own source: for CPUs that have none.
 *
 * Sums of bf16 are chains of fused multiply-adds over ascending k, with denormals taken as zero. Shapes are checked as the hardware
 * would, which faults.
 */
#ifndef KCHECK_AMX_EMULATED_H
#define KCHECK_AMX_EMULATED_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local struct {
	unsigned char row[16][64];
} emulated_tile[8];
static _Thread_local struct {
	uint8_t palette, start_row, reserved[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
} emulated_config;

static inline void emulated_must(int right)
{
	if (!right)
		abort();
}

static inline void emulated_loadconfig(const void *p)
{
	memcpy(&emulated_config, p, sizeof emulated_config);
	for (int i = 0; i < 8; i++)
		emulated_must(emulated_config.rows[i] <= 16 && emulated_config.row_bytes[i] <= 64);
	emulated_must(emulated_config.palette == 1);
	memset(emulated_tile, 0, sizeof emulated_tile);
}

static inline void emulated_release(void)
{
	memset(&emulated_config, 0, sizeof emulated_config);
}

static inline void emulated_zero(int t)
{
	emulated_must(emulated_config.rows[t] > 0);
	memset(&emulated_tile[t], 0, sizeof emulated_tile[t]);
}

static inline void emulated_load(int t, const void *base, long stride)
{
	emulated_zero(t);
	for (int r = 0; r < emulated_config.rows[t]; r++)
		memcpy(emulated_tile[t].row[r], (const char *)base + r * stride, emulated_config.row_bytes[t]);
}

static inline void emulated_store(int t, void *base, long stride)
{
	emulated_must(emulated_config.rows[t] > 0);
	for (int r = 0; r < emulated_config.rows[t]; r++)
		memcpy((char *)base + r * stride, emulated_tile[t].row[r], emulated_config.row_bytes[t]);
}

static inline void emulated_fits(int to, int a, int b)
{
	emulated_must(emulated_config.rows[to] == emulated_config.rows[a] &&
		      emulated_config.row_bytes[to] == emulated_config.row_bytes[b] &&
		      emulated_config.row_bytes[a] == 4 * emulated_config.rows[b] && emulated_config.rows[to] > 0);
}

static inline float emulated_flushed(float v)
{
	return fabsf(v) < 0x1p-126f ? copysignf(0, v) : v;
}

static inline float emulated_bf16(const unsigned char *at)
{
	uint32_t bits = (uint32_t)at[0] << 16 | (uint32_t)at[1] << 24;
	float v;
	memcpy(&v, &bits, sizeof v);
	return emulated_flushed(v);
}

static inline void emulated_dpbf16ps(int to, int a, int b)
{
	emulated_fits(to, a, b);
	for (int m = 0; m < emulated_config.rows[to]; m++)
		for (int n = 0; n < emulated_config.row_bytes[to] / 4; n++) {
			float sum;
			memcpy(&sum, &emulated_tile[to].row[m][4 * n], 4);
			for (int k = 0; k < 2 * emulated_config.rows[b]; k++)
				sum = emulated_flushed(fmaf(emulated_bf16(&emulated_tile[a].row[m][2 * k]),
							    emulated_bf16(&emulated_tile[b].row[k / 2][4 * n + 2 * (k & 1)]), sum));
			memcpy(&emulated_tile[to].row[m][4 * n], &sum, 4);
		}
}

static inline void emulated_dpbssd(int to, int a, int b)
{
	emulated_fits(to, a, b);
	for (int m = 0; m < emulated_config.rows[to]; m++)
		for (int n = 0; n < emulated_config.row_bytes[to] / 4; n++) {
			int32_t sum;
			memcpy(&sum, &emulated_tile[to].row[m][4 * n], 4);
			for (int k = 0; k < 4 * emulated_config.rows[b]; k++)
				sum += (int8_t)emulated_tile[a].row[m][k] * (int8_t)emulated_tile[b].row[k / 4][4 * n + k % 4];
			memcpy(&emulated_tile[to].row[m][4 * n], &sum, 4);
		}
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stream_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#define _tile_loadconfig emulated_loadconfig
#define _tile_release emulated_release
#define _tile_zero emulated_zero
#define _tile_loadd emulated_load
#define _tile_stream_loadd emulated_load
#define _tile_stored emulated_store
#define _tile_dpbf16ps emulated_dpbf16ps
#define _tile_dpbssd emulated_dpbssd

#endif
