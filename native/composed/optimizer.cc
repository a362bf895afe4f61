#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/bucketize.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "composed/composed.h"
#include "composed/named.h"
#include "kernels/dynamic_code.h"

namespace prospect {
namespace composed {
namespace {

const NamedOperator& fusedAdamW() {
  static const NamedOperator instance("aten::_fused_adamw_");
  return instance;
}

void update(const at::Tensor& parameter, const at::Tensor& gradient, const at::Tensor& m, const at::Tensor& v, int64_t step, double learningRate, double beta1,
            double beta2, double epsilon, double weightDecay, double gradientScale) {
  const auto stepSize = learningRate / (1 - std::pow(beta1, static_cast<double>(step)));
  const auto rootCorrection2 = std::sqrt(1 - std::pow(beta2, static_cast<double>(step)));
  const auto scaled = gradient.mul(gradientScale);
  m.lerp_(scaled, 1 - beta1);
  v.mul_(beta2).addcmul_(scaled, scaled, 1 - beta2);
  at::Tensor(parameter).mul_(1 - learningRate * weightDecay).addcdiv_(m, v.sqrt().div_(rootCorrection2).add_(epsilon), -stepSize);
}

/// A code's values and the middles between them, on a tensor's device.
struct CodeTensors {
  CodeTensors(bool withSign, const at::Tensor& like) {
    const auto& code = dynamicCode(withSign);
    const auto middles = middlesOf(code);
    values = at::tensor(at::ArrayRef<float>(code.data(), code.size())).to(like.device());
    between = at::tensor(at::ArrayRef<float>(middles.data(), middles.size())).to(like.device());
  }
  at::Tensor load(const at::Tensor& codes, const at::Tensor& scales) const {
    return values.index_select(0, codes.flatten().to(at::kLong)).view(codes.sizes()).mul_(scales.unsqueeze(1));
  }
  /// moments [blocks, 256]
  void store(const at::Tensor& moments, at::Tensor codes, at::Tensor scales) const {
    const auto largest = moments.abs().amax(1);
    const auto any = largest.gt(1e-36);
    scales.copy_(largest.mul(any));
    codes.copy_(at::bucketize(moments.mul(largest.reciprocal().masked_fill(any.logical_not(), 0).unsqueeze(1)).clamp_(-1, 1), between));
  }
  at::Tensor values, between;
};

constexpr int64_t kBlocksAtOnce = 1 << 14;  // 4 million elements: their codes take 8 bytes each meanwhile

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
  for (size_t i = 0; i < parameters.size(); i++)
    update(parameters[i], gradients[i], firstMoments[i], secondMoments[i], step, learningRate, beta1, beta2, epsilon, weightDecay, gradientScale);
}

void adamw8bit(at::TensorList parameters, at::TensorList gradients, at::TensorList firstCodes, at::TensorList firstScales, at::TensorList secondCodes,
               at::TensorList secondScales, int64_t step, double learningRate, double beta1, double beta2, double epsilon, double weightDecay,
               double gradientScale) {
  if (parameters.empty()) return;
  const at::NoGradGuard noGradient;
  const CodeTensors withSign(true, parameters[0]), withoutSign(false, parameters[0]);
  for (size_t i = 0; i < parameters.size(); i++) {
    const auto parameter = parameters[i].view(-1), gradient = gradients[i].reshape(-1);
    const auto count = parameter.numel(), blocks = firstScales[i].numel();
    for (int64_t first = 0; first < blocks; first += kBlocksAtOnce) {
      const auto some = std::min(kBlocksAtOnce, blocks - first), start = first * kMomentBlock, size = std::min(some * kMomentBlock, count - start);
      const auto part = [&](const at::Tensor& of) { return of.narrow(0, first, some); };
      const auto m = withSign.load(part(firstCodes[i]), part(firstScales[i])), v = withoutSign.load(part(secondCodes[i]), part(secondScales[i]));
      const auto elements = [&](const at::Tensor& moment) { return moment.view(-1).narrow(0, 0, size); };
      for (const auto& moment : {m, v}) moment.view(-1).narrow(0, size, moment.numel() - size).zero_();  // what fills the last block counts for no scale
      update(parameter.narrow(0, start, size), gradient.narrow(0, start, size), elements(m), elements(v), step, learningRate, beta1, beta2, epsilon,
             weightDecay, gradientScale);
      withSign.store(m, part(firstCodes[i]), part(firstScales[i]));
      withoutSign.store(v, part(secondCodes[i]), part(secondScales[i]));
    }
  }
}

}  // namespace composed
}  // namespace prospect
