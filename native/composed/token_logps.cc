#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/softmax.h>
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

/// Logits, and with a soft cap (then in float32) what they were bent to, over the cap.
std::pair<at::Tensor, at::Tensor> logitsOf(const at::Tensor& hidden, const at::Tensor& weight, double softCap) {
  auto logits = at::mm(hidden, weight.t());
  if (softCap == 0) return {logits, at::Tensor()};
  auto bent = logits.to(at::kFloat).div_(softCap).tanh_();
  return {bent.mul(softCap), bent};
}

at::Tensor compute(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, int64_t chunk, double softCap) {
  const auto rows = hidden.size(0);
  const auto logps = at::empty({rows}, hidden.options().dtype(at::kFloat));
  for (int64_t start = 0; start < rows; start += chunk) {
    const auto count = std::min(chunk, rows - start);
    const auto all = at::log_softmax(logitsOf(hidden.narrow(0, start, count), weight, softCap).first, 1, at::kFloat);
    logps.narrow(0, start, count).copy_(all.gather(1, targets.narrow(0, start, count).unsqueeze(1)).squeeze(1));
  }
  return logps;
}

struct TokenLogps : torch::autograd::Function<TokenLogps> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, int64_t chunk,
                            double softCap, const at::Tensor& masterOrWeight) {
    const auto logps = compute(hidden, weight, targets, chunk, softCap);
    context->save_for_backward({hidden, savedWeight(*context, weight, masterOrWeight), targets, logps});
    context->saved_data["chunk"] = chunk;
    context->saved_data["soft_cap"] = softCap;
    return logps;
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
    const auto &hidden = saved[0], &targets = saved[2], &logps = saved[3];
    const auto chunk = context.saved_data.at("chunk").toInt();
    const auto softCap = context.saved_data.at("soft_cap").toDouble();
    const auto rows = hidden.size(0);
    if (rows == 0 && ofWeight.defined() && !add) ofWeight.zero_();
    for (int64_t start = 0; start < rows; start += chunk) {
      const auto count = std::min(chunk, rows - start);
      const auto of = [&](const at::Tensor& all) { return all.narrow(0, start, count); };
      const auto part = of(hidden);
      auto [logits, bent] = logitsOf(part, weight, softCap);
      // softmax - onehot, with the upstream gradient left to the smaller factors of the products. In bfloat16 what is 1 less of a likely target would be
      // lost in p - 1, so it comes from the log-probability.
      auto apart = at::softmax(logits, 1);
      logits.reset();
      apart.scatter_(1, of(targets).unsqueeze(1), of(logps).expm1().to(apart.scalar_type()).unsqueeze(1));
      if (bent.defined()) apart = apart.mul_(bent.square_().neg_().add_(1)).to(hidden.scalar_type());
      const auto upstream = of(output).to(at::kFloat).neg().unsqueeze(1);
      if (ofHidden.defined()) of(ofHidden).copy_(at::mm(apart, weight).mul_(upstream));
      if (!ofWeight.defined()) continue;
      const auto product = at::mm(apart.t(), part.mul(upstream).to(part.scalar_type()));
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
