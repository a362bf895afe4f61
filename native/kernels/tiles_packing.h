// Operands of large bfloat16 products (tiles.cc) in the order in which they are multiplied: pairs of tiles of 16 rows of 64 bytes.
#pragma once
#if defined(__x86_64__)
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "simd.h"
#include "tiles.h"

#define PROSPECT_DOTS __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

namespace prospect {

constexpr int64_t kTile = 16;             // rows of a tile
constexpr int64_t kDepth = 32;            // bfloat16 of one of its rows: 64 bytes
constexpr int64_t kTwo = 2 * kTile;       // rows, or columns, of the block that the registers hold
constexpr int64_t kPair = kTwo * kDepth;  // elements of two packed tiles

/// Elements of a packed operand of 32 rows or columns.
inline int64_t packedSize(int64_t depth) { return (depth + kDepth - 1) / kDepth * kPair; }

/// 16 rows of 16 pairs become 16 rows of 16 pairs, transposed.
PROSPECT_DOTS inline void transposePairs(__m512i* rows) {
  __m512i other[16];
  for (int i = 0; i < 16; i += 2) {
    other[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    other[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    rows[i] = _mm512_unpacklo_epi64(other[i], other[i + 2]);
    rows[i + 1] = _mm512_unpackhi_epi64(other[i], other[i + 2]);
    rows[i + 2] = _mm512_unpacklo_epi64(other[i + 1], other[i + 3]);
    rows[i + 3] = _mm512_unpackhi_epi64(other[i + 1], other[i + 3]);
  }
  for (int i = 0; i < 4; i++) {  // 128-bit lanes: a 4 x 4 transposition of the lanes of rows i, i + 4, i + 8, i + 12
    const __m512i evenUpper = _mm512_shuffle_i32x4(rows[i], rows[4 + i], 0x88), oddUpper = _mm512_shuffle_i32x4(rows[i], rows[4 + i], 0xdd);
    const __m512i evenLower = _mm512_shuffle_i32x4(rows[8 + i], rows[12 + i], 0x88), oddLower = _mm512_shuffle_i32x4(rows[8 + i], rows[12 + i], 0xdd);
    other[i] = _mm512_shuffle_i32x4(evenUpper, evenLower, 0x88);
    other[4 + i] = _mm512_shuffle_i32x4(oddUpper, oddLower, 0x88);
    other[8 + i] = _mm512_shuffle_i32x4(evenUpper, evenLower, 0xdd);
    other[12 + i] = _mm512_shuffle_i32x4(oddUpper, oddLower, 0xdd);
  }
  for (int i = 0; i < 16; i++) rows[i] = other[i];
}

/// Which of the first `count` of 32 elements there are.
inline __mmask32 maskOf(int64_t count) { return count >= 32 ? ~__mmask32(0) : count <= 0 ? 0 : (__mmask32(1) << count) - 1; }

PROSPECT_DOTS inline __m512i loadUpTo32(const bfloat16* from, int64_t count) { return _mm512_maskz_loadu_epi16(maskOf(count), from); }

/// Elements of two rows in turn: the first 16 of each, and the last 16.
struct Interleaved {
  __m512i low, high;
};
PROSPECT_DOTS inline Interleaved interleave(__m512i even, __m512i odd) {
  alignas(64) static constexpr uint16_t lows[32] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                    8,  40, 9,  41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i low = _mm512_load_si512(lows), high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  return {_mm512_permutex2var_epi16(even, low, odd), _mm512_permutex2var_epi16(even, high, odd)};
}

/// Both packings write pairs of tiles of 16 rows of 64 bytes, 32 of the depth after 32 of the depth. `across` counts rows of A or columns of B.
/// This one is for operands whose depth is contiguous; as tiles of B (pairs of the depth by columns) they are transposed.
PROSPECT_DOTS inline void packAlong(const bfloat16* from, int64_t stride, int64_t across, int64_t depth, bool asColumns, bfloat16* to) {
  for (int64_t k = 0; k < depth; k += kDepth, to += kPair) {
    for (int64_t half = 0; half < 2; half++) {
      __m512i rows[16];
      for (int64_t i = 0; i < kTile; i++) {
        const int64_t row = half * kTile + i;
        rows[i] = row < across ? loadUpTo32(from + row * stride + k, depth - k) : _mm512_setzero_si512();
      }
      if (asColumns) transposePairs(rows);
      for (int64_t i = 0; i < kTile; i++) _mm512_store_si512(to + (half * kTile + i) * kDepth, rows[i]);
    }
  }
}

/// This one is for operands whose depth is `stride` apart; as tiles of A they are transposed.
PROSPECT_DOTS inline void packAcross(const bfloat16* from, int64_t stride, int64_t across, int64_t depth, bool asColumns, bfloat16* to) {
  for (int64_t k = 0; k < depth; k += kDepth, to += kPair) {
    __m512i upper[16], lower[16];
    for (int64_t pair = 0; pair < 16; pair++) {
      const int64_t row = k + 2 * pair;
      const __m512i even = row < depth ? loadUpTo32(from + row * stride, across) : _mm512_setzero_si512();
      const __m512i odd = row + 1 < depth ? loadUpTo32(from + (row + 1) * stride, across) : _mm512_setzero_si512();
      const Interleaved pairs = interleave(even, odd);
      upper[pair] = pairs.low;
      lower[pair] = pairs.high;
    }
    if (!asColumns) {
      transposePairs(upper);
      transposePairs(lower);
    }
    for (int64_t i = 0; i < kTile; i++) {
      _mm512_store_si512(to + i * kDepth, upper[i]);
      _mm512_store_si512(to + (kTile + i) * kDepth, lower[i]);
    }
  }
}

/// Packs rows of A or columns of B, 32 at a time, over threads; [ceil(across / 32), ceil(depth / 32), 2, 16, 32].
inline at::Tensor packed(const Operand& operand, bool asColumns) {
  const int64_t across = asColumns ? operand.columns : operand.rows, depth = asColumns ? operand.rows : operand.columns;
  const int64_t blocks = (across + kTwo - 1) / kTwo, size = packedSize(depth);
  auto result = at::empty({blocks * size + kTile * 2}, at::kBFloat16);  // and room to begin at a multiple of 64 bytes
  const auto address = reinterpret_cast<uintptr_t>(result.data_ptr<bfloat16>());
  result = result.narrow(0, static_cast<int64_t>((64 - address % 64) % 64 / sizeof(bfloat16)), blocks * size);
  auto* to = result.data_ptr<bfloat16>();
  const bool alongDepth = operand.transposed == asColumns;
  at::parallel_for(0, blocks, std::max<int64_t>(1, (1 << 16) / size), [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; block++) {
      const int64_t first = block * kTwo, count = std::min(kTwo, across - first);
      if (alongDepth) packAlong(operand.data + first * operand.stride, operand.stride, count, depth, asColumns, to + block * size);
      else packAcross(operand.data + first, operand.stride, count, depth, asColumns, to + block * size);
    }
  });
  return result;
}

}  // namespace prospect
#endif
