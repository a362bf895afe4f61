// How weights are stored in 4 or 8 bits: what the kernels and their compositions have in common.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace prospect {

constexpr int64_t kBlock = 64;         // weights that share a scale
constexpr int64_t kNestedBlock = 256;  // scales that share a scale of their own

/// The largest |value|, NaN left out; 0 of none.
float largestMagnitude(const float* values, int64_t count);
/// Both values of each byte of 4-bit weights, high half first: float32 [256, 2].
at::Tensor normalFloatPairs();
/// The values of the scales' 8-bit codes: float32 [256, 1].
at::Tensor dynamicCodes();

}  // namespace prospect
