// Sixteen floats at a time, in GCC's vector types: one source for AVX-512, AVX2 and everything else. Functions here are always inlined, so
// that each takes on the instruction set of the loop it stands in; vectorised() picks the best one that the processor has.
#pragma once
#include <c10/util/BFloat16.h>

#include <cstdint>
#include <cstring>

#define PROSPECT_INLINE __attribute__((always_inline))

namespace prospect {

using bfloat16 = c10::BFloat16;
constexpr int64_t kLanes = 16;
using Floats = float __attribute__((vector_size(64)));
using Ints = int32_t __attribute__((vector_size(64)));
using Bits = uint32_t __attribute__((vector_size(64)));
using Halves = uint16_t __attribute__((vector_size(32)));

enum class Isa { Portable, Avx2, Avx512 };

inline Isa isa() {
#if defined(__x86_64__)
  static const Isa best = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                                  __builtin_cpu_supports("avx512dq")
                              ? Isa::Avx512
                          : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? Isa::Avx2
                                                                                            : Isa::Portable;
  return best;
#else
  return Isa::Portable;
#endif
}

#if defined(__x86_64__)
template <typename Body>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma"))) void runAvx512(const Body& body) {
  body();
}
template <typename Body>
__attribute__((target("avx2,fma"))) void runAvx2(const Body& body) {
  body();
}
#endif

/// Runs `body`, a lambda marked PROSPECT_INLINE, as compiled for this processor.
template <typename Body>
void vectorised(const Body& body) {
#if defined(__x86_64__)
  if (isa() == Isa::Avx512) return runAvx512(body);
  if (isa() == Isa::Avx2) return runAvx2(body);
#endif
  body();
}

PROSPECT_INLINE inline Floats all(float value) { return Floats{} + value; }

template <typename To, typename From>
PROSPECT_INLINE inline To bitsOf(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "a reinterpretation keeps the size");
  To to;
  std::memcpy(&to, &from, sizeof(To));
  return to;
}

PROSPECT_INLINE inline Floats load(const float* from) {
  Floats result;
  std::memcpy(&result, from, sizeof(result));
  return result;
}

PROSPECT_INLINE inline Floats load(const bfloat16* from) {
  Halves halves;
  std::memcpy(&halves, from, sizeof(halves));
  return bitsOf<Floats>(__builtin_convertvector(halves, Bits) << 16);
}

/// The upper halves are the bfloat16 values, rounded to nearest even.
PROSPECT_INLINE inline Bits rounded(const Floats& value) {
  const Bits bits = bitsOf<Bits>(value);
  return bits + 0x7fff + ((bits >> 16) & 1);
}

PROSPECT_INLINE inline void store(float* to, const Floats& value) { std::memcpy(to, &value, sizeof(value)); }

PROSPECT_INLINE inline void store(bfloat16* to, const Floats& value) {
  const Halves halves = __builtin_convertvector(rounded(value) >> 16, Halves);
  std::memcpy(to, &halves, sizeof(halves));
}

/// Copies fewer than sixteen elements in powers of two: a copy of any size would be a call.
template <typename T>
PROSPECT_INLINE inline void copyPart(T* to, const T* from, int64_t count) {
  if (count & 8) std::memcpy(static_cast<void*>(to), from, 8 * sizeof(T)), to += 8, from += 8;
  if (count & 4) std::memcpy(static_cast<void*>(to), from, 4 * sizeof(T)), to += 4, from += 4;
  if (count & 2) std::memcpy(static_cast<void*>(to), from, 2 * sizeof(T)), to += 2, from += 2;
  if (count & 1) *to = *from;
}

/// The first `count` of sixteen; the rest is 0.
template <typename T>
PROSPECT_INLINE inline Floats loadPart(const T* from, int64_t count) {
  T buffer[kLanes] = {};
  copyPart(buffer, from, count);
  return load(buffer);
}

template <typename T>
PROSPECT_INLINE inline void storePart(T* to, const Floats& value, int64_t count) {
  T buffer[kLanes];
  store(buffer, value);
  copyPart(to, static_cast<const T*>(buffer), count);
}

/// Calls `body(i, count)` for each sixteen of `count` elements, the last of which may be fewer.
template <typename Body>
PROSPECT_INLINE inline void eachSixteen(int64_t count, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i, kLanes);
  if (i < count) body(i, count - i);
}

template <typename T>
PROSPECT_INLINE inline Floats loadUpTo(const T* from, int64_t count) {
  return count == kLanes ? load(from) : loadPart(from, count);
}
template <typename T>
PROSPECT_INLINE inline void storeUpTo(T* to, const Floats& value, int64_t count) {
  if (count == kLanes) store(to, value);
  else storePart(to, value, count);
}

PROSPECT_INLINE inline float sum(const Floats& value) {
  float result = 0;
  for (int i = 0; i < kLanes; i++) result += value[i];
  return result;
}

PROSPECT_INLINE inline Floats larger(const Floats& a, const Floats& b) { return a > b ? a : b; }
PROSPECT_INLINE inline Floats smaller(const Floats& a, const Floats& b) { return a < b ? a : b; }

/// e^x to about 2 units in the last place; 0 below -87, and no infinity above 88 (its largest value stays finite). NaN stays NaN.
PROSPECT_INLINE inline Floats exponential(const Floats& x) {
  const Floats low = all(-87.33654f), high = all(88.37626f);
  Floats bounded = x < low ? low : x;
  bounded = bounded > high ? high : bounded;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Floats shifted = bounded * 1.44269504f + magic;
  const Floats whole = shifted - magic;
  const Floats r = bounded - whole * 0.693359375f + whole * 2.12194440e-4f;
  Floats p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const Ints exponent = (bitsOf<Ints>(shifted) - bitsOf<Ints>(all(magic)) + 127) << 23;
  const Floats result = p * bitsOf<Floats>(exponent);
  return x < low ? Floats{} : result;
}

PROSPECT_INLINE inline Floats sigmoid(const Floats& x) { return 1.0f / (1.0f + exponential(-x)); }
PROSPECT_INLINE inline Floats hyperbolicTangent(const Floats& x) { return 1.0f - 2.0f / (1.0f + exponential(2.0f * x)); }

}  // namespace prospect
