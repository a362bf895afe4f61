#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "composed/composed.h"
#include "kernels/dispatch.h"
#include "kernels/leaf.h"

namespace prospect {
namespace composed {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Log-probabilities of the whole vocabulary, float32, and with a soft cap the capped logits over the cap.
std::pair<at::Tensor, at::Tensor> logProbabilities(const at::Tensor& hidden, const at::Tensor& weight, double softCap) {
  auto logits = at::mm(hidden, weight.t());
  if (softCap == 0) return {at::log_softmax(logits, 1, at::kFloat), at::Tensor()};
  auto bent = logits.to(at::kFloat).div_(softCap).tanh_();
  return {at::log_softmax(bent.mul(softCap), 1), bent};
}

at::Tensor compute(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, int64_t chunk, double softCap) {
  const auto rows = hidden.size(0);
  const auto logps = at::empty({rows}, hidden.options().dtype(at::kFloat));
  for (int64_t start = 0; start < rows; start += chunk) {
    const auto count = std::min(chunk, rows - start);
    const auto all = logProbabilities(hidden.narrow(0, start, count), weight, softCap).first;
    logps.narrow(0, start, count).copy_(all.gather(1, targets.narrow(0, start, count).unsqueeze(1)).squeeze(1));
  }
  return logps;
}

struct TokenLogps : torch::autograd::Function<TokenLogps> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, int64_t chunk,
                            double softCap, const at::Tensor& masterOrWeight) {
    context->save_for_backward({hidden, savedWeight(*context, weight, masterOrWeight), targets});
    context->saved_data["chunk"] = chunk;
    context->saved_data["soft_cap"] = softCap;
    return compute(hidden, weight, targets, chunk, softCap);
  }

  /// d logp / d logits = onehot(target) - softmax(logits), times the cap's derivative 1 - tanh^2; a chunk at a time.
  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const auto saved = context->get_saved_variables();
    const auto& hidden = saved[0];
    const auto weight = weightOf(*context, saved[1]);
    const auto ofHidden = hidden.requires_grad() ? at::empty(hidden.sizes(), hidden.options()) : at::Tensor();
    const auto write = [&](const at::Tensor& sums, bool add) { gradients(*context, saved, weight, outputs[0], ofHidden, sums, add); };
    const auto ofWeight = summedGradient(*context, weight, write);
    return {ofHidden, ofWeight, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }

  static void gradients(const AutogradContext& context, const variable_list& saved, const at::Tensor& weight, const at::Tensor& output,
                        const at::Tensor& ofHidden, at::Tensor ofWeight, bool add) {
    const auto &hidden = saved[0], &targets = saved[2];
    const auto chunk = context.saved_data.at("chunk").toInt();
    const auto softCap = context.saved_data.at("soft_cap").toDouble();
    const auto rows = hidden.size(0), vocabulary = weight.size(0);
    if (rows == 0 && ofWeight.defined() && !add) ofWeight.zero_();
    for (int64_t start = 0; start < rows; start += chunk) {
      const auto count = std::min(chunk, rows - start);
      const auto part = hidden.narrow(0, start, count);
      const auto upstream = output.narrow(0, start, count).to(at::kFloat).contiguous();
      auto [gradient, bent] = logProbabilities(part, weight, softCap);
      gradient.exp_().mul_(upstream.unsqueeze(1)).neg_();
      const auto places = at::arange(count, targets.options()).mul_(vocabulary).add_(targets.narrow(0, start, count));
      gradient.view({-1}).index_add_(0, places, upstream);
      if (bent.defined()) gradient.mul_(bent.square_().neg_().add_(1));
      const auto narrow = gradient.to(hidden.scalar_type());
      if (ofHidden.defined()) ofHidden.narrow(0, start, count).copy_(at::mm(narrow, weight));
      if (!ofWeight.defined()) continue;
      const auto product = at::mm(narrow.t(), part);
      add || start > 0 ? ofWeight.add_(product) : ofWeight.copy_(product);
    }
  }
};

}  // namespace

at::Tensor tokenLogps(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, int64_t chunk, double softCap,
                      const c10::optional<at::Tensor>& master) {
  TORCH_CHECK(chunk > 0, "chunk must be positive, got ", chunk);
  TORCH_CHECK(hidden.scalar_type() == weight.scalar_type(), "hidden and weight must have one dtype");
  checkMaster(weight, master);
  const auto& original = master.has_value() ? *master : weight;
  if (!needsGradient({hidden, weight, original})) return compute(hidden, weight, targets, chunk, softCap);
  return TokenLogps::apply(hidden, weight, targets, chunk, softCap, original);
}

}  // namespace composed
}  // namespace prospect
