#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "kernels.h"

namespace prospect {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Logits in float32. A cap c > 0 turns them into c tanh(logits / c), as Gemma 2 does.
at::Tensor logitsOf(const at::Tensor& hidden, const at::Tensor& weight, double softCap) {
  auto logits = at::mm(hidden, weight.t()).to(at::kFloat);
  if (softCap > 0) logits.div_(softCap).tanh_().mul_(softCap);
  return logits;
}

struct TokenLogps : torch::autograd::Function<TokenLogps> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, int64_t chunk, double softCap) {
    const auto rows = hidden.size(0);
    const auto floats = hidden.options().dtype(at::kFloat);
    auto logps = at::empty({rows}, floats);
    auto normalisers = at::empty({rows, 1}, floats);
    for (int64_t start = 0; start < rows; start += chunk) {
      const auto length = std::min(chunk, rows - start);
      const auto logits = logitsOf(hidden.narrow(0, start, length), weight, softCap);
      const auto normaliser = logits.logsumexp({1}, true);
      const auto chosen = logits.gather(1, targets.narrow(0, start, length).unsqueeze(1));
      normalisers.narrow(0, start, length).copy_(normaliser);
      logps.narrow(0, start, length).copy_(chosen.sub(normaliser).squeeze(1));
    }
    context->save_for_backward({hidden, weight, targets, normalisers});
    context->saved_data["chunk"] = chunk;
    context->saved_data["soft_cap"] = softCap;
    return logps;
  }

  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const auto saved = context->get_saved_variables();
    const auto &hidden = saved[0], &weight = saved[1], &targets = saved[2], &normalisers = saved[3];
    const auto chunk = context->saved_data["chunk"].toInt();
    const auto softCap = context->saved_data["soft_cap"].toDouble();
    const auto rows = hidden.size(0);
    const auto upstream = outputs[0].to(at::kFloat).unsqueeze(1);
    auto hiddenGradient = at::empty(hidden.sizes(), hidden.options());
    auto weightGradient = at::zeros(weight.sizes(), weight.options().dtype(at::kFloat));
    for (int64_t start = 0; start < rows; start += chunk) {
      const auto length = std::min(chunk, rows - start);
      const auto part = hidden.narrow(0, start, length);
      const auto scale = upstream.narrow(0, start, length);
      // d logp / d logits = onehot(target) - softmax(logits)
      auto gradient = logitsOf(part, weight, softCap);
      at::Tensor slope;  // d c tanh(x / c) / d x = 1 - tanh^2
      if (softCap > 0) slope = gradient.div(softCap).square_().neg_().add_(1);
      gradient.sub_(normalisers.narrow(0, start, length)).exp_().mul_(scale.neg());
      gradient.scatter_add_(1, targets.narrow(0, start, length).unsqueeze(1), scale.contiguous());
      if (softCap > 0) gradient.mul_(slope);
      gradient = gradient.to(weight.scalar_type());
      hiddenGradient.narrow(0, start, length).copy_(at::mm(gradient, weight));
      if (weight.scalar_type() == at::kFloat) weightGradient.addmm_(gradient.t(), part);
      else weightGradient.add_(at::mm(gradient.t(), part));
    }
    return {hiddenGradient, weightGradient, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor tokenLogps(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, int64_t chunk, double softCap) {
  TORCH_CHECK(hidden.dim() == 2 && weight.dim() == 2 && hidden.size(1) == weight.size(1), "hidden and weight must be [rows, width] and [vocabulary, width]");
  TORCH_CHECK(targets.dim() == 1 && targets.size(0) == hidden.size(0), "targets must be [rows]");
  TORCH_CHECK(hidden.scalar_type() == weight.scalar_type(), "hidden and weight must have one dtype");
  TORCH_CHECK(softCap >= 0, "soft_cap must be positive, or 0 for none, got ", softCap);
  TORCH_CHECK(chunk > 0, "chunk must be positive, got ", chunk);
  return TokenLogps::apply(hidden, weight, targets, chunk, softCap);
}

}  // namespace prospect
