// Layouts of operands for gemm.h: `From` is what tensors hold, `To` what is multiplied.
#pragma once
#include <algorithm>
#include <cstdint>

#include "gemm.h"
#include "simd.h"

namespace prospect {

/// Where element (k, column) of a packed B lies.
template <typename To>
PROSPECT_INLINE inline int64_t packedAt(int64_t k, int64_t column, int64_t depth) {
  const int64_t panel = column / kPanel * kPanel * depth, j = column % kPanel;
  return sizeof(To) == 4 ? panel + k * kPanel + j : panel + k / 2 * 2 * kPanel + 2 * j + k % 2;
}

/// B[k][column] = from[column][k], 0 outside of [count, width]; depth x columns.
template <typename To, typename From>
PROSPECT_INLINE inline void packTransposed(const From* from, int64_t stride, int64_t count, int64_t width, To* to, int64_t depth, int64_t columns) {
  for (int64_t column = 0; column < columns; column++) {
    To* target = to + packedAt<To>(0, column, depth);
    const From* row = from + column * stride;
    const int64_t filled = column < count ? width : 0;
    constexpr int64_t kStep = sizeof(To) == 4 ? kPanel : 2 * kPanel;
    if (sizeof(To) == 4) {
      for (int64_t k = 0; k < filled; k++) target[k * kStep] = static_cast<To>(static_cast<float>(row[k]));
      for (int64_t k = filled; k < depth; k++) target[k * kStep] = To(0.0f);
    } else {
      for (int64_t k = 0; k < depth; k++) target[k / 2 * kStep + k % 2] = k < filled ? static_cast<To>(static_cast<float>(row[k])) : To(0.0f);
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
  for (int64_t k = 0; k < depth; k++) {
    const From* row = from + k * stride;
    const int64_t filled = k < count ? width : 0;
    for (int64_t column = 0; column < columns; column++)
      to[packedAt<bfloat16>(k, column, depth)] = column < filled ? static_cast<bfloat16>(static_cast<float>(row[column])) : bfloat16(0.0f);
  }
}

/// A[row][k] = from[row][k], 0 from `width` to `depth`.
template <typename To, typename From>
PROSPECT_INLINE inline void copyRows(const From* from, int64_t stride, int64_t count, int64_t width, To* to, int64_t depth) {
  for (int64_t row = 0; row < count; row++) {
    for (int64_t k = 0; k < width; k++) to[row * depth + k] = static_cast<To>(static_cast<float>(from[row * stride + k]));
    for (int64_t k = width; k < depth; k++) to[row * depth + k] = To(0.0f);
  }
}

/// A[k][row] = from[row][k].
template <typename To, typename From>
PROSPECT_INLINE inline void copyTransposed(const From* from, int64_t stride, int64_t count, int64_t width, To* to, int64_t rowStride) {
  for (int64_t row = 0; row < count; row++)
    for (int64_t k = 0; k < width; k++) to[k * rowStride + row] = static_cast<To>(static_cast<float>(from[row * stride + k]));
}

}  // namespace prospect
