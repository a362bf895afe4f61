// Keyed dropout's gradient, whatever computes its mask: the mask is a function of what is saved, so that backward makes it again.
#pragma once
#include <torch/csrc/autograd/custom_function.h>

namespace prospect {

/// `dropped(input, keys, seed, share)` sets elements to 0 and scales the others; applied to the gradient it is its own derivative.
template <at::Tensor (*dropped)(const at::Tensor&, const at::Tensor&, int64_t, double)>
struct KeyedDropout : torch::autograd::Function<KeyedDropout<dropped>> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& input, const at::Tensor& keys, int64_t seed, double share) {
    context->save_for_backward({keys});
    context->saved_data["seed"] = seed;
    context->saved_data["share"] = share;
    return dropped(input, keys, seed, share);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context, torch::autograd::variable_list outputs) {
    const auto keys = context->get_saved_variables()[0];
    const auto seed = context->saved_data["seed"].toInt();
    return {dropped(outputs[0], keys, seed, context->saved_data["share"].toDouble()), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace prospect
