// Layouts of operands for gemm.h: `From` is what tensors hold, `To` what is multiplied.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "gemm.h"
#include "simd.h"

namespace prospect {

/// Sixteen rows of sixteen 32-bit elements, transposed: blocks of 1, 2, 4 and 8 change places across the diagonal.
PROSPECT_INLINE inline void transpose(Floats (&rows)[kLanes]) {
  for (int step = 1; step < kLanes; step *= 2) {
    Ints upper = {}, lower = {};  // lanes of both rows, counted on
    for (int lane = 0; lane < kLanes; lane++) {
      upper[lane] = (lane & step) == 0 ? lane : lane - step + static_cast<int>(kLanes);
      lower[lane] = (lane & step) == 0 ? lane + step : lane + static_cast<int>(kLanes);
    }
    for (int row = 0; row < kLanes; row++) {
      if ((row & step) != 0) continue;
      const Floats first = rows[row], second = rows[row + step];
      rows[row] = __builtin_shuffle(first, second, upper);
      rows[row + step] = __builtin_shuffle(first, second, lower);
    }
  }
}

/// Two rows of a packed B, element by element in turn.
PROSPECT_INLINE inline void storePairs(bfloat16* to, const Floats& even, const Floats& odd) {
  const Bits pairs = (rounded(even) >> 16) | (rounded(odd) & 0xffff0000u);
  std::memcpy(static_cast<void*>(to), &pairs, sizeof(pairs));
}

/// Without shuffles of whole rows, element by element is faster.
inline bool transposesFast() { return isa() == Isa::Avx512; }

/// Where element (k, column) of a packed B lies.
template <typename To>
PROSPECT_INLINE inline int64_t packedAt(int64_t k, int64_t column, int64_t depth) {
  const int64_t panel = column / kPanel * kPanel * depth, j = column % kPanel;
  return sizeof(To) == 4 ? panel + k * kPanel + j : panel + k / 2 * 2 * kPanel + 2 * j + k % 2;
}

/// B[k][column] = from[column][k], 0 outside of [count, width]; depth x columns.
template <typename To, typename From>
PROSPECT_INLINE inline void packTransposed(const From* from, int64_t stride, int64_t count, int64_t width, To* to, int64_t depth, int64_t columns) {
  constexpr int64_t kStep = sizeof(To) == 4 ? kPanel : 2 * kPanel;      // from one vector of a panel to the next below it
  constexpr int64_t kDeep = sizeof(To) == 4 ? kLanes : 2 * kLanes;      // elements of the depth in a block of 16 columns
  constexpr bool kAsItIs = sizeof(To) == sizeof(From);
  for (int64_t column = 0; column < columns; column += kLanes) {
    To* block = to + packedAt<To>(0, column, depth);
    int64_t done = 0;
    if (transposesFast() && (sizeof(To) == 4 || kAsItIs) && column + kLanes <= count) {
      for (; done + kDeep <= width; done += kDeep) {
        Floats rows[kLanes];
        for (int64_t i = 0; i < kLanes; i++) {
          const From* row = from + (column + i) * stride + done;
          if constexpr (sizeof(To) == 4) rows[i] = load(row);
          else std::memcpy(&rows[i], static_cast<const void*>(row), sizeof(Floats));  // pairs of elements
        }
        transpose(rows);
        for (int64_t i = 0; i < kLanes; i++) std::memcpy(static_cast<void*>(block + (done / (kDeep / kLanes) + i) * kStep), &rows[i], sizeof(Floats));
      }
    }
    for (int64_t j = column; j < column + kLanes; j++) {
      To* target = to + packedAt<To>(0, j, depth);
      for (int64_t k = done; k < depth; k++) {
        const bool given = j < count && k < width;
        target[sizeof(To) == 4 ? k * kStep : k / 2 * kStep + k % 2] = given ? static_cast<To>(static_cast<float>(from[j * stride + k])) : To(0.0f);
      }
    }
  }
}

/// B[k][column] = from[k][column], 0 outside of [count, width]; depth x columns.
template <typename From>
PROSPECT_INLINE inline void packRows(const From* from, int64_t stride, int64_t count, int64_t width, float* to, int64_t depth, int64_t columns) {
  for (int64_t column = 0; column < columns; column += kLanes) {
    const int64_t filled = std::max<int64_t>(0, std::min(kLanes, width - column));
    float* panel = to + packedAt<float>(0, column, depth);
    for (int64_t k = 0; k < depth; k++) {
      const bool given = k < count && filled > 0;
      store(panel + k * kPanel, given ? loadUpTo(from + k * stride + column, filled) : all(0));
    }
  }
}
template <typename From>
PROSPECT_INLINE inline void packRows(const From* from, int64_t stride, int64_t count, int64_t width, bfloat16* to, int64_t depth, int64_t columns) {
  for (int64_t column = 0; column < columns; column += kLanes) {
    const int64_t filled = std::max<int64_t>(0, std::min(kLanes, width - column));
    bfloat16* panel = to + packedAt<bfloat16>(0, column, depth);
    const auto row = [&](int64_t k) PROSPECT_INLINE { return k < count && filled > 0 ? loadUpTo(from + k * stride + column, filled) : all(0); };
    for (int64_t k = 0; k < depth; k += 2) storePairs(panel + k * kPanel, row(k), row(k + 1));
  }
}

/// A[row][k] = from[row][k], 0 from `width` to `depth`.
template <typename To, typename From>
PROSPECT_INLINE inline void copyRows(const From* from, int64_t stride, int64_t count, int64_t width, To* to, int64_t depth) {
  for (int64_t row = 0; row < count; row++) {
    eachSixteen(width, [&](int64_t k, int64_t part) PROSPECT_INLINE { storeUpTo(to + row * depth + k, loadUpTo(from + row * stride + k, part), part); });
    std::fill(to + row * depth + width, to + (row + 1) * depth, To(0.0f));
  }
}

/// A[k][row] = from[row][k].
template <typename To, typename From>
PROSPECT_INLINE inline void copyTransposed(const From* from, int64_t stride, int64_t count, int64_t width, To* to, int64_t rowStride) {
  int64_t row = 0;
  for (; transposesFast() && row + kLanes <= count; row += kLanes) {
    int64_t k = 0;
    for (; k + kLanes <= width; k += kLanes) {
      Floats rows[kLanes];
      for (int64_t i = 0; i < kLanes; i++) rows[i] = load(from + (row + i) * stride + k);
      transpose(rows);
      for (int64_t i = 0; i < kLanes; i++) store(to + (k + i) * rowStride + row, rows[i]);
    }
    for (; k < width; k++)
      for (int64_t i = row; i < row + kLanes; i++) to[k * rowStride + i] = static_cast<To>(static_cast<float>(from[i * stride + k]));
  }
  for (; row < count; row++)
    for (int64_t k = 0; k < width; k++) to[k * rowStride + row] = static_cast<To>(static_cast<float>(from[row * stride + k]));
}

}  // namespace prospect
