#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sum.h>
#include <torch/csrc/autograd/custom_function.h>

#include "composed/composed.h"
#include "composed/named.h"
#include "kernels/dispatch.h"

namespace prospect {
namespace composed {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

const NamedOperator& fusedNorm() {
  static const NamedOperator instance("aten::_fused_rms_norm");
  return instance;
}
const NamedOperator& fusedNormBackward() {
  static const NamedOperator instance("aten::_fused_rms_norm_backward");
  return instance;
}

/// libtorch's own fused norm has one dtype for input and scale.
bool usesFused(const at::Tensor& x) { return x.is_cuda() && x.scalar_type() == at::kFloat && fusedNorm().runsOn(x) && fusedNormBackward().runsOn(x); }

at::Tensor shifted(const at::Tensor& scale, double offset) { return offset == 0 ? scale : scale.add(offset); }

/// normed, of `dtype`, and 1 / rms float32 [..., 1].
std::pair<at::Tensor, at::Tensor> normForward(const at::Tensor& x, const at::Tensor& scale, double epsilon, double offset, at::ScalarType dtype) {
  if (usesFused(x)) {
    const auto results = fusedNorm()({{"input", x}, {"normalized_shape", std::vector<int64_t>{x.size(-1)}}, {"weight", shifted(scale, offset)}, {"eps", epsilon}});
    return {results[0].toTensor().to(dtype), results[1].toTensor()};
  }
  const auto wide = x.to(at::kFloat);
  const auto inverse = wide.square().mean(-1, true).add_(epsilon).rsqrt_();
  return {wide.mul(inverse).mul_(shifted(scale, offset)).to(dtype), inverse};
}

/// As kernels/norm.cc has it: d x = inverse (g - n mean(g n)) + d total, with g = d normed * (scale + offset) and n = x inverse.
std::pair<at::Tensor, at::Tensor> normBackward(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& inverse, const at::Tensor& upstream,
                                               const at::Tensor& ofTotal, double offset, bool wantScale) {
  if (usesFused(x)) {
    const auto results = fusedNormBackward()({{"grad_out", upstream.to(at::kFloat)},
                                              {"input", x},
                                              {"normalized_shape", std::vector<int64_t>{x.size(-1)}},
                                              {"rstd", inverse},
                                              {"weight", shifted(scale, offset)},
                                              {"output_mask", c10::List<bool>({true, wantScale})}});
    auto gradient = results[0].toTensor();
    return {ofTotal.defined() ? gradient.add_(ofTotal) : gradient, wantScale ? results[1].toTensor() : at::Tensor()};
  }
  const auto normed = x.to(at::kFloat).mul(inverse);
  const auto up = upstream.to(at::kFloat);
  const auto scaled = up.mul(shifted(scale, offset));
  const auto mean = scaled.mul(normed).mean(-1, true);
  auto gradient = scaled.sub(normed.mul(mean)).mul_(inverse);
  if (ofTotal.defined()) gradient.add_(ofTotal);
  return {gradient.to(x.scalar_type()), wantScale ? up.mul(normed).reshape({-1, x.size(-1)}).sum(0) : at::Tensor()};
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& scale, double epsilon, double offset, int64_t dtype) {
    auto [normed, inverse] = normForward(x, scale, epsilon, offset, static_cast<at::ScalarType>(dtype));
    context->save_for_backward({x, scale, inverse});
    context->saved_data["offset"] = offset;
    return normed;
  }
  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const auto saved = context->get_saved_variables();
    auto [x, scale] =
        normBackward(saved[0], saved[1], saved[2], outputs[0], at::Tensor(), context->saved_data["offset"].toDouble(), saved[1].requires_grad());
    return {x, scale, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct AddRmsNorm : torch::autograd::Function<AddRmsNorm> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& delta, const at::Tensor& scale, double epsilon,
                               double offset, int64_t dtype) {
    const auto total = x.add(delta.to(x.scalar_type()));
    auto [normed, inverse] = normForward(total, scale, epsilon, offset, static_cast<at::ScalarType>(dtype));
    context->save_for_backward({total, scale, inverse});
    context->saved_data["offset"] = offset;
    context->saved_data["deltaType"] = static_cast<int64_t>(delta.scalar_type());
    return {total, normed};
  }
  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const auto saved = context->get_saved_variables();
    at::Tensor gradient = outputs[0], scale;
    if (outputs[1].defined()) {
      std::tie(gradient, scale) =
          normBackward(saved[0], saved[1], saved[2], outputs[1], outputs[0], context->saved_data["offset"].toDouble(), saved[1].requires_grad());
    }
    const auto deltaType = static_cast<at::ScalarType>(context->saved_data["deltaType"].toInt());
    return {gradient, gradient.defined() ? gradient.to(deltaType) : gradient, scale, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor rmsNorm(const at::Tensor& x, const at::Tensor& scale, double epsilon, double offset, c10::optional<at::ScalarType> dtype) {
  const auto type = dtype.value_or(x.scalar_type());
  if (!needsGradient({x, scale})) return normForward(x, scale, epsilon, offset, type).first;
  return RmsNorm::apply(x, scale, epsilon, offset, static_cast<int64_t>(type));
}

std::tuple<at::Tensor, at::Tensor> addRmsNorm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& scale, double epsilon, double offset,
                                              c10::optional<at::ScalarType> dtype) {
  const auto type = dtype.value_or(x.scalar_type());
  if (!needsGradient({x, delta, scale})) {
    const auto total = x.add(delta.to(x.scalar_type()));
    return {total, normForward(total, scale, epsilon, offset, type).first};
  }
  auto outputs = AddRmsNorm::apply(x, delta, scale, epsilon, offset, static_cast<int64_t>(type));
  return {outputs[0], outputs[1]};
}

}  // namespace composed
}  // namespace prospect
