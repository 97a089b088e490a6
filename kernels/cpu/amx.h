/* amx.h - tiles: how they are configured, and the intrinsics.
 *
 * Tile data is state of a thread that Linux grants on request (src/hw asks). A kernel configures the tiles, works, and releases
 * them: switching between threads is dearer while they are in use.
 */
#ifndef CPU_AMX_H
#define CPU_AMX_H

#include <immintrin.h>
#include <stdint.h>

/* What LDTILECFG reads. */
struct amx_config {
	uint8_t palette, start_row, reserved[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
};

static inline void amx_shape(struct amx_config *c, int tile, int rows, int row_bytes)
{
	c->palette = 1;
	c->rows[tile] = (uint8_t)rows;
	c->row_bytes[tile] = (uint16_t)row_bytes;
}

/* Compilers know what tile instructions read no better than of any assembly: what was written before must be in memory. */
static inline void amx_settle(const void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}

static inline void amx_begin(const struct amx_config *c)
{
	amx_settle(c);
	_tile_loadconfig(c);
}

#endif
