// Whole numbers that the processor has worked out, on the device that computes with them.
#pragma once
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace prospect {

/// [values]. A GPU takes them from pinned memory: from any other, the processor would wait for all that the GPU has been given before.
template <typename Number>
at::Tensor numbersOn(const c10::Device& device, const std::vector<int64_t>& values) {
  const auto options = at::TensorOptions().dtype(c10::CppTypeToScalarType<Number>::value).pinned_memory(device.is_cuda());
  auto result = at::empty({static_cast<int64_t>(values.size())}, options);
  std::transform(values.begin(), values.end(), result.template data_ptr<Number>(), [](int64_t value) { return static_cast<Number>(value); });
  return result.to(device, result.scalar_type(), /*non_blocking=*/device.is_cuda());
}

}  // namespace prospect
