/* math_poly.h - the constants of the CPU kernels' exp, tanh and erfc, one copy for every vector width.
 *
 * Polynomials are minimax fits of the relative error, rounded to float32; tools/fit_math.py makes them again.
 * Lowest power first.
 */
#ifndef CPU_MATH_POLY_H
#define CPU_MATH_POLY_H

/* x = n ln 2 + r. LN2_HIGH has 15 bits, so that n * LN2_HIGH is exact for every n that occurs. */
#define EXP_LOG2E 0x1.715476p+0f
#define EXP_LN2_HIGH 0x1.62e4p-1f
#define EXP_LN2_LOW 0x1.7f7d1cp-20f
/* Below LOW the result is 0 in float32, above HIGH infinite. */
#define EXP_LOW -105.0f
#define EXP_HIGH 89.5f
/* (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2; error of exp 3.1e-9. */
#define EXP_0 0x1.000000p-1f
#define EXP_1 0x1.55548ep-3f
#define EXP_2 0x1.55545ep-5f
#define EXP_3 0x1.123b52p-7f
#define EXP_4 0x1.6db420p-10f

/* (2^r - 1) / r for |r| <= 1 / 2; error of 2^r 9.1e-8 before rounding. */
#define EXP2_0 0x1.62e42ap-1f
#define EXP2_1 0x1.ebf9bcp-3f
#define EXP2_2 0x1.c6b752p-5f
#define EXP2_3 0x1.3cea88p-7f
#define EXP2_4 0x1.5bba0ep-10f

/* (tanh(x) / x - 1) / x^2 in x^2, for |x| < TANH_SMALL; error of tanh 8.8e-11. Above, 1 - 2 / (exp(2 x) + 1). */
#define TANH_SMALL 0.6f
#define TANH_0 -0x1.555554p-2f
#define TANH_1 0x1.11109ep-3f
#define TANH_2 -0x1.b9fa8ap-5f
#define TANH_3 0x1.6418d8p-6f
#define TANH_4 -0x1.0ee55cp-7f
#define TANH_5 0x1.246dfcp-9f

/* (1 + 2 z) exp(z^2) erfc(z) in t = (z - 2) / (z + 2), for 0 <= z <= 10.5; error 9.7e-10. After M. M. Shepherd and
 * J. G. Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < infinity", 1981. */
#define ERFC_0 0x1.46e80ep+0f
#define ERFC_1 -0x1.7bf5eap-4f
#define ERFC_2 -0x1.5407d0p-3f
#define ERFC_3 0x1.4ff9fap-3f
#define ERFC_4 -0x1.bc270ap-5f
#define ERFC_5 -0x1.0725fcp-7f
#define ERFC_6 0x1.1d62c4p-7f
#define ERFC_7 0x1.48396ap-10f
#define ERFC_8 -0x1.74ad9ap-10f
#define ERFC_9 -0x1.a3cc74p-12f
#define ERFC_10 0x1.65899cp-13f
#define ERFC_11 0x1.4f0578p-14f

/* GELU: sqrt(2 / pi) and its cubic term. */
#define GELU_SLOPE 0x1.988454p-1f
#define GELU_CUBE 0.044715f
#define SQRT_HALF 0x1.6a09e6p-1f

#endif
