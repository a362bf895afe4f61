#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>

#include <cmath>
#include <vector>

#include "composed/composed.h"
#include "composed/named.h"

namespace prospect {
namespace composed {
namespace {

const NamedOperator& fusedAdamW() {
  static const NamedOperator instance("aten::_fused_adamw_");
  return instance;
}

}  // namespace

double gradientNorm(at::TensorList gradients) {
  if (gradients.empty()) return 0;
  return at::stack(at::_foreach_norm(gradients, 2)).to(at::kDouble).norm().item<double>();
}

void adamw(at::TensorList parameters, at::TensorList gradients, at::TensorList firstMoments, at::TensorList secondMoments, int64_t step,
           double learningRate, double beta1, double beta2, double epsilon, double weightDecay, double gradientScale) {
  if (parameters.empty()) return;
  const at::NoGradGuard noGradient;
  const auto& first = parameters[0];
  if (fusedAdamW().runsOn(first)) {
    const auto number = [&](double value) { return at::full({}, value, first.options().dtype(at::kFloat).requires_grad(false)); };
    const auto scale = gradientScale == 1 ? c10::IValue() : c10::IValue(number(1 / gradientScale));  // gradients are divided by it
    fusedAdamW()({{"self", parameters},
                  {"grads", gradients},
                  {"exp_avgs", firstMoments},
                  {"exp_avg_sqs", secondMoments},
                  {"max_exp_avg_sqs", std::vector<at::Tensor>()},
                  {"state_steps", std::vector<at::Tensor>(parameters.size(), number(static_cast<double>(step)))},
                  {"lr", learningRate},
                  {"beta1", beta1},
                  {"beta2", beta2},
                  {"weight_decay", weightDecay},
                  {"eps", epsilon},
                  {"amsgrad", false},
                  {"maximize", false},
                  {"grad_scale", scale}});
    return;
  }
  const auto stepSize = learningRate / (1 - std::pow(beta1, static_cast<double>(step)));
  const auto rootCorrection2 = std::sqrt(1 - std::pow(beta2, static_cast<double>(step)));
  for (size_t i = 0; i < parameters.size(); i++) {
    const auto gradient = gradients[i].mul(gradientScale);
    const auto &m = firstMoments[i], &v = secondMoments[i];
    m.lerp_(gradient, 1 - beta1);
    v.mul_(beta2).addcmul_(gradient, gradient, 1 - beta2);
    parameters[i].mul_(1 - learningRate * weightDecay).addcdiv_(m, v.sqrt().div_(rootCorrection2).add_(epsilon), -stepSize);
  }
}

}  // namespace composed
}  // namespace prospect
