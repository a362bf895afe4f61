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
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& biasOrWeight,
                            const at::Tensor& masterOrWeight) {
    const auto bias = biasOrWeight.is_same(weight) ? at::Tensor() : biasOrWeight;
    // What a frozen operand's gradient would need is not kept.
    const auto kept = savedWeight(*context, weight, masterOrWeight);
    context->save_for_backward({masterOrWeight.requires_grad() ? x : at::Tensor(), x.requires_grad() ? kept : at::Tensor()});
    context->saved_data["of_x"] = x.requires_grad();
    context->saved_data["bias"] = bias.defined() && bias.requires_grad();
    return product(x, weight, bias);
  }

  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &upstream = outputs[0];
    return {context->saved_data["of_x"].toBool() ? times(upstream, weightOf(*context, saved[1])) : at::Tensor(),
            x.defined() ? weightGradient(*context, upstream, x) : at::Tensor(), context->saved_data["bias"].toBool() ? upstream.sum(0) : at::Tensor(),
            at::Tensor()};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const c10::optional<at::Tensor>& bias, const c10::optional<at::Tensor>& master) {
  if (x.dim() != 2 && !master.has_value()) return at::linear(x, weight, bias);
  TORCH_CHECK(x.dim() == 2 && weight.dim() == 2 && weight.size(1) == x.size(1), "x must be [tokens, in] and weight [out, in]");
  checkMaster(weight, master);
  const auto &addend = bias.has_value() ? *bias : weight, &original = master.has_value() ? *master : weight;
  if (!needsGradient({x, weight, addend, original})) return product(x, weight, bias.value_or(at::Tensor()));
  return Linear::apply(x, weight, addend, original);
}

}  // namespace prospect
