#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/linear.h>
#include <torch/csrc/autograd/custom_function.h>

#include "dispatch.h"
#include "kernels.h"
#include "leaf.h"
#include "product.h"

namespace prospect {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::AutoDispatchBelowADInplaceOrView below;
  return bias.defined() ? at::addmm(bias, x, weight.t()) : timesTransposed(x, weight);
}

struct Linear : torch::autograd::Function<Linear> {
  /// Arguments of a node must be defined: the weight stands in for a bias or master that is not there, and gets nothing through it.
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& biasOrWeight, bool hasBias,
                            const at::Tensor& masterOrWeight, bool hasMaster) {
    const auto bias = hasBias ? biasOrWeight : at::Tensor();
    // What a frozen operand's gradient would need is not kept.
    context->save_for_backward({masterOrWeight.requires_grad() ? x : at::Tensor(), x.requires_grad() ? weight : at::Tensor()});
    context->saved_data["bias"] = bias.defined() && bias.requires_grad();
    if (hasMaster) context->saved_data[kMaster] = masterOrWeight;
    return product(x, weight, bias);
  }

  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &upstream = outputs[0];
    return {weight.defined() ? times(upstream, weight) : at::Tensor(), x.defined() ? weightGradient(*context, upstream, x) : at::Tensor(),
            context->saved_data["bias"].toBool() ? upstream.sum(0) : at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const c10::optional<at::Tensor>& bias, const c10::optional<at::Tensor>& master) {
  const auto addend = bias.has_value() ? *bias : at::Tensor(), original = master.has_value() ? *master : at::Tensor();
  if (x.dim() != 2 && !original.defined()) return at::linear(x, weight, bias);
  TORCH_CHECK(x.dim() == 2 && weight.dim() == 2 && weight.size(1) == x.size(1), "x must be [tokens, in] and weight [out, in]");
  checkMaster(weight, original);
  if (!needsGradient({x, weight, addend, original})) return product(x, weight, addend);
  const auto orWeight = [&](const at::Tensor& tensor) { return tensor.defined() ? tensor : weight; };
  return Linear::apply(x, weight, orWeight(addend), addend.defined(), orWeight(original), original.defined());
}

}  // namespace prospect
