// Gradients that a kernel adds up in a leaf of autograd itself: autograd would take a tensor of its own for each pass, and add it in another.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/custom_function.h>

#include "product.h"

namespace prospect {

/// The leaf's gradient after write(sums, add), which makes float32 sums of the leaf's shape: sums = the gradient, or where there is one yet, sums += it.
template <typename Write>
void addToGradient(const at::Tensor& leaf, const Write& write) {
  TORCH_CHECK(leaf.is_leaf() && leaf.scalar_type() == at::kFloat && leaf.is_contiguous(), "gradients are added up in contiguous float32 leaves, got ",
              leaf.toString(), " of ", leaf.sizes());
  auto& gradient = leaf.mutable_grad();
  if (gradient.defined()) {
    TORCH_CHECK(gradient.scalar_type() == at::kFloat && gradient.is_contiguous(), "a leaf's gradient must be contiguous float32 to be added to, got ",
                gradient.toString(), " of ", gradient.sizes());
    return write(gradient, true);
  }
  const auto sums = at::empty(leaf.sizes(), at::TensorOptions(leaf.device()).dtype(at::kFloat));
  write(sums, false);
  gradient = sums;
}

/// A master is the float32 leaf that a weight is a rounded copy of; it gets the gradient, and the copy none.
inline void checkMaster(const at::Tensor& weight, const at::Tensor& master) {
  if (!master.defined()) return;
  TORCH_CHECK(master.sizes() == weight.sizes(), "a weight and its master must have one shape, got ", weight.sizes(), " and ", master.sizes());
  TORCH_CHECK(!weight.requires_grad(), "a weight that has a master must not ask for a gradient itself");
}

constexpr const char* kMaster = "master";  // of a node's saved data, where its weight has one

/// upstream^T x, a node's gradient of its weight; where the weight has a master it goes there, and nothing is given.
inline at::Tensor weightGradient(const torch::autograd::AutogradContext& node, const at::Tensor& upstream, const at::Tensor& x) {
  const auto master = node.saved_data.find(kMaster);
  if (master == node.saved_data.end()) return transposedTimes(upstream, x);
  addToGradient(master->second.toTensor(), [&](const at::Tensor& sums, bool add) { transposedTimesInto(sums, upstream, x, add); });
  return {};
}

/// A node's gradient of its weight, in float32, from write(sums, add), which adds up parts of it; where the weight has a master it goes there, and nothing is
/// given. Where no gradient is wanted, `sums` is undefined.
template <typename Write>
at::Tensor summedGradient(const torch::autograd::AutogradContext& node, const at::Tensor& weight, const Write& write) {
  const auto master = node.saved_data.find(kMaster);
  if (master != node.saved_data.end()) {
    addToGradient(master->second.toTensor(), write);
    return {};
  }
  const auto sums = weight.requires_grad() ? at::empty(weight.sizes(), weight.options().dtype(at::kFloat)) : at::Tensor();
  write(sums, false);
  return sums;
}

}  // namespace prospect
