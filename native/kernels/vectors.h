// Vectors of GCC's (Clang has them too), which become the registers of whatever instruction set a function is compiled for. Include it last: what
// follows is optimised as vector loops need.
#pragma once
#include <cstdint>
#include <cstring>

#include "kernels.h"

#pragma GCC optimize("O3")
#pragma GCC diagnostic ignored "-Wpsabi"  // vectors never cross a call: every function that has one is inlined

// One version of a function for each instruction set, chosen at load: the addon may move between processors.
// GCC takes "arch=haswell" for that family of processors only; the level of all that have AVX2 and FMA has a name from GCC 12 on.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define PROSPECT_CLONES __attribute__((target_clones("avx512f", "arch=x86-64-v3", "default")))
#elif defined(__x86_64__)
#define PROSPECT_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define PROSPECT_CLONES
#endif
#define PROSPECT_INLINE inline __attribute__((always_inline))

namespace prospect {
namespace {

constexpr int64_t width = 16;  // floats of a vector

typedef float Floats __attribute__((vector_size(4 * width)));
typedef int32_t Ints __attribute__((vector_size(4 * width)));
typedef uint32_t Bits __attribute__((vector_size(4 * width)));
typedef uint16_t Halves __attribute__((vector_size(2 * width)));

PROSPECT_INLINE void load(Floats& into, const float* from) { std::memcpy(&into, from, sizeof into); }
PROSPECT_INLINE void load(Floats& into, const at::BFloat16* from) {
  Halves halves;
  std::memcpy(&halves, from, sizeof halves);
  into = (Floats)(__builtin_convertvector(halves, Bits) << 16);
}

/// exp(x) for x <= 0, to about 2 units in the last place: 2^n times a polynomial of the rest, as in Cephes' expf.
PROSPECT_INLINE void exponential(Floats& x) {
  x = x < -87.0f ? Floats{} - 87.0f : x;
  const Floats shifted = x * 1.44269504f + 12582912.0f;  // adding 1.5 x 2^23 rounds to the nearest whole number
  const Floats whole = shifted - 12582912.0f;
  const Floats rest = x - whole * 0.693359375f + whole * 2.12194440e-4f;
  Floats sum = rest * 1.9875691500e-4f + 1.3981999507e-3f;
  sum = sum * rest + 8.3334519073e-3f;
  sum = sum * rest + 4.1665795894e-2f;
  sum = sum * rest + 1.6666665459e-1f;
  sum = sum * rest + 5.0000001201e-1f;
  sum = sum * rest * rest + rest + 1.0f;
  const Ints power = (__builtin_convertvector(whole, Ints) + 127) << 23;
  x = sum * (Floats)power;
}

}  // namespace
}  // namespace prospect
