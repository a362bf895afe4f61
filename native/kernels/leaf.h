// Gradients that a kernel adds up in a leaf of autograd itself: autograd would take a tensor of its own for each pass, and add it in another.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/core/ivalue.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <utility>

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
inline void checkMaster(const at::Tensor& weight, const c10::optional<at::Tensor>& master) {
  if (!master.has_value()) return;
  TORCH_CHECK(master->sizes() == weight.sizes(), "a weight and its master must have one shape, got ", weight.sizes(), " and ", master->sizes());
  TORCH_CHECK(!weight.requires_grad(), "a weight that has a master must not ask for a gradient itself");
}

/// What a node keeps of a weight that has a master: the master, and the copy only for as long as others hold it.
struct Copied : torch::CustomClassHolder {
  Copied(const at::Tensor& weight, at::Tensor of)
      : copy(weight.getIntrusivePtr()), dtype(weight.scalar_type()), master(std::move(of)), version(master.unsafeGetTensorImpl()->version_counter().current_version()) {}
  c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl> copy;
  at::ScalarType dtype;
  at::Tensor master;
  uint32_t version;

  /// The copy, or another one where it is gone.
  at::Tensor weight() const {
    TORCH_CHECK(master.unsafeGetTensorImpl()->version_counter().current_version() == version, "a weight of ", master.sizes(),
                " was changed between forward and backward");
    auto held = copy.lock();
    return held ? at::Tensor(std::move(held)) : master.to(dtype);
  }
};

constexpr const char* kCopied = "copied";  // of a node's saved data, where its weight has a master

inline c10::intrusive_ptr<Copied> copiedOf(const torch::autograd::AutogradContext& node) {
  const auto found = node.saved_data.find(kCopied);
  return found == node.saved_data.end() ? c10::intrusive_ptr<Copied>() : c10::static_intrusive_pointer_cast<Copied>(found->second.toCapsule());
}

/// Arguments of a node must be defined: a weight without a master stands in for one. Gives what save_for_backward is to hold of the weight.
inline at::Tensor savedWeight(torch::autograd::AutogradContext& node, const at::Tensor& weight, const at::Tensor& masterOrWeight) {
  if (masterOrWeight.is_same(weight)) return weight;
  node.saved_data[kCopied] = c10::IValue::make_capsule(c10::make_intrusive<Copied>(weight, masterOrWeight));
  return {};
}

/// The weight in the backward pass, from what was saved of it.
inline at::Tensor weightOf(const torch::autograd::AutogradContext& node, const at::Tensor& saved) {
  const auto copied = copiedOf(node);
  return copied ? copied->weight() : saved;
}

/// upstream^T x, a node's gradient of its weight; where the weight has a master it goes there, and nothing is given.
inline at::Tensor weightGradient(const torch::autograd::AutogradContext& node, const at::Tensor& upstream, const at::Tensor& x) {
  const auto copied = copiedOf(node);
  if (!copied) return transposedTimes(upstream, x);
  addToGradient(copied->master, [&](const at::Tensor& sums, bool add) { transposedTimesInto(sums, upstream, x, add); });
  return {};
}

/// A node's gradient of its weight, in float32, from write(sums, add), which adds up parts of it; where the weight has a master it goes there, and nothing is
/// given. Where no gradient is wanted, `sums` is undefined.
template <typename Write>
at::Tensor summedGradient(const torch::autograd::AutogradContext& node, const at::Tensor& weight, const Write& write) {
  if (const auto copied = copiedOf(node)) {
    addToGradient(copied->master, write);
    return {};
  }
  const auto sums = weight.requires_grad() ? at::empty(weight.sizes(), weight.options().dtype(at::kFloat)) : at::Tensor();
  write(sums, false);
  return sums;
}

}  // namespace prospect
