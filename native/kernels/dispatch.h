// From libtorch's run-time types to the kernels' compile-time ones.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>

#include <initializer_list>

namespace prospect {

/// Elements of a loop over memory that are worth waking a second thread for.
constexpr int64_t kElementsPerThread = 1 << 14;

/// Calls `body` with a value of the C++ type: float or bfloat16.
template <typename Body>
void withFloatType(at::ScalarType type, const Body& body) {
  if (type == at::kFloat) return body(float{});
  if (type == at::kBFloat16) return body(c10::BFloat16{});
  TORCH_CHECK(false, "expected float32 or bfloat16, got ", c10::toString(type));
}

/// Whether a node of autograd has to be made: one costs about as much as a small operator.
inline bool needsGradient(std::initializer_list<at::Tensor> tensors) {
  if (!c10::GradMode::is_enabled()) return false;
  for (const auto& tensor : tensors)
    if (tensor.defined() && tensor.requires_grad()) return true;
  return false;
}

}  // namespace prospect
