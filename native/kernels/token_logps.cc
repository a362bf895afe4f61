#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "dispatch.h"
#include "kernels.h"
#include "leaf.h"
#include "product.h"
#include "simd.h"

namespace prospect {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A logit in float32. A cap c > 0 turns it into c tanh(logit / c), as Gemma 2 does.
PROSPECT_INLINE inline Floats capped(const Floats& logit, float cap) { return cap > 0 ? hyperbolicTangent(logit / cap) * cap : logit; }

/// log sum exp of a row, in one pass: the sum is scaled down whenever a larger logit turns up.
template <typename T>
PROSPECT_INLINE inline float logSumOf(const T* logits, int64_t vocabulary, float cap) {
  Floats most = all(-std::numeric_limits<float>::max()), sums = all(0);
  eachSixteen(vocabulary, [&](int64_t i, int64_t count) PROSPECT_INLINE {
    Floats logit = capped(loadUpTo(logits + i, count), cap);
    for (int64_t k = count; k < kLanes; k++) logit[k] = -std::numeric_limits<float>::infinity();
    const Floats next = larger(logit, most);
    sums = sums * exponential(most - next) + exponential(logit - next);
    most = next;
  });
  float highest = most[0], total = 0;
  for (int i = 1; i < kLanes; i++) highest = std::max(highest, most[i]);
  for (int i = 0; i < kLanes; i++) total += sums[i] * std::exp(most[i] - highest);
  return highest + std::log(total);
}

/// In place: d logp / d logit = scale (onehot(target) - softmax(logits)), and the cap's derivative 1 - tanh^2.
template <typename T>
PROSPECT_INLINE inline void gradientOf(T* logits, int64_t vocabulary, int64_t target, float logSum, float scale, float cap) {
  const float chosen = static_cast<float>(logits[target]);
  const auto slope = [&](float logit) { return cap > 0 ? 1 - std::tanh(logit / cap) * std::tanh(logit / cap) : 1.0f; };
  const float value = cap > 0 ? cap * std::tanh(chosen / cap) : chosen;
  eachSixteen(vocabulary, [&](int64_t i, int64_t count) PROSPECT_INLINE {
    const Floats logit = capped(loadUpTo(logits + i, count), cap);
    Floats gradient = exponential(logit - logSum) * -scale;
    if (cap > 0) gradient *= 1.0f - logit * logit / (cap * cap);
    storeUpTo(logits + i, gradient, count);
  });
  logits[target] = static_cast<T>(scale * (1 - std::exp(value - logSum)) * slope(chosen));
}

/// Calls body(row) for all rows, spread over threads; `logits` [rows, vocabulary].
template <typename Body>
void eachRow(const at::Tensor& logits, const Body& body) {
  at::parallel_for(0, logits.size(0), 1, [&](int64_t begin, int64_t end) {
    vectorised([&]() PROSPECT_INLINE {
      for (int64_t row = begin; row < end; row++) body(row);
    });
  });
}

struct TokenLogps : torch::autograd::Function<TokenLogps> {
  /// The weight stands in for a master that is not there.
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, int64_t chunk,
                            double softCap, const at::Tensor& masterOrWeight) {
    const auto [logps, logSums] = compute(hidden, weight, targets, chunk, softCap);
    context->save_for_backward({hidden, savedWeight(*context, weight, masterOrWeight), targets, logSums});
    context->saved_data["chunk"] = chunk;
    context->saved_data["soft_cap"] = softCap;
    return logps;
  }

  /// Log-probabilities and the logits' log sums, [rows].
  static std::pair<at::Tensor, at::Tensor> compute(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, int64_t chunk,
                                                   double softCap) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto rows = hidden.size(0), vocabulary = weight.size(0);
    const auto logps = at::empty({rows}, hidden.options().dtype(at::kFloat)), logSums = at::empty({rows}, hidden.options().dtype(at::kFloat));
    const auto* chosen = targets.data_ptr<int64_t>();
    auto *logp = logps.data_ptr<float>(), *sums = logSums.data_ptr<float>();
    const auto cap = static_cast<float>(softCap);
    for (int64_t start = 0; start < rows; start += chunk) {
      const auto logits = timesTransposed(hidden.narrow(0, start, std::min(chunk, rows - start)), weight);
      withFloatType(logits.scalar_type(), [&](auto type) {
        using T = decltype(type);
        const T* values = logits.data_ptr<T>();
        eachRow(logits, [&](int64_t row) PROSPECT_INLINE {
          const T* own = values + row * vocabulary;
          const float logit = static_cast<float>(own[chosen[start + row]]);
          sums[start + row] = logSumOf(own, vocabulary, cap);
          logp[start + row] = (cap > 0 ? cap * std::tanh(logit / cap) : logit) - sums[start + row];
        });
      });
    }
    return {logps, logSums};
  }

  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto saved = context->get_saved_variables();
    const auto& hidden = saved[0];
    const auto weight = weightOf(*context, saved[1]);
    const auto ofHidden = hidden.requires_grad() ? at::empty(hidden.sizes(), hidden.options()) : at::Tensor();
    const auto write = [&](const at::Tensor& sums, bool add) { gradients(*context, saved, weight, outputs[0], ofHidden, sums, add); };
    const auto ofWeight = summedGradient(*context, weight, write);
    return {ofHidden, ofWeight, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }

  /// Fills the gradients that are defined; that of the weight, float32, is written, or added to with `add`.
  static void gradients(const AutogradContext& context, const variable_list& saved, const at::Tensor& weight, const at::Tensor& output,
                        const at::Tensor& ofHidden, const at::Tensor& ofWeight, bool add) {
    const auto &hidden = saved[0], &targets = saved[2], &logSums = saved[3];
    const auto chunk = context.saved_data.at("chunk").toInt();
    const auto cap = static_cast<float>(context.saved_data.at("soft_cap").toDouble());
    const auto rows = hidden.size(0), vocabulary = weight.size(0);
    const auto upstream = output.to(at::kFloat).contiguous();
    const auto *chosen = targets.data_ptr<int64_t>();
    const auto *scales = upstream.data_ptr<float>(), *sums = logSums.data_ptr<float>();
    if (rows == 0 && ofWeight.defined() && !add) at::Tensor(ofWeight).zero_();
    for (int64_t start = 0; start < rows; start += chunk) {
      const auto length = std::min(chunk, rows - start);
      const auto part = hidden.narrow(0, start, length);
      const auto gradient = timesTransposed(part, weight);
      withFloatType(gradient.scalar_type(), [&](auto type) {
        using T = decltype(type);
        T* values = gradient.data_ptr<T>();
        eachRow(gradient, [&](int64_t row) PROSPECT_INLINE {
          gradientOf(values + row * vocabulary, vocabulary, chosen[start + row], sums[start + row], scales[start + row], cap);
        });
      });
      if (ofHidden.defined()) ofHidden.narrow(0, start, length).copy_(times(gradient, weight));
      if (ofWeight.defined()) transposedTimesInto(ofWeight, gradient, part, add || start > 0);
    }
  }
};

}  // namespace

at::Tensor tokenLogps(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, int64_t chunk, double softCap,
                      const c10::optional<at::Tensor>& master) {
  TORCH_CHECK(hidden.dim() == 2 && weight.dim() == 2 && hidden.size(1) == weight.size(1), "hidden and weight must be [rows, width] and [vocabulary, width]");
  TORCH_CHECK(targets.dim() == 1 && targets.size(0) == hidden.size(0) && targets.scalar_type() == at::kLong && targets.is_contiguous(),
              "targets must be contiguous int64 [rows]");
  TORCH_CHECK(hidden.scalar_type() == weight.scalar_type(), "hidden and weight must have one dtype");
  TORCH_CHECK(softCap >= 0, "soft_cap must be positive, or 0 for none, got ", softCap);
  TORCH_CHECK(chunk > 0, "chunk must be positive, got ", chunk);
  const auto* ids = targets.data_ptr<int64_t>();
  for (int64_t i = 0; i < targets.size(0); i++)
    TORCH_CHECK(ids[i] >= 0 && ids[i] < weight.size(0), "target ", i, " is ", ids[i], ", outside of the vocabulary of ", weight.size(0));
  checkMaster(weight, master);
  const auto& original = master.has_value() ? *master : weight;
  if (!needsGradient({hidden, weight, original})) return TokenLogps::compute(hidden, weight, targets, chunk, softCap).first;
  return TokenLogps::apply(hidden, weight, targets, chunk, softCap, original);
}

}  // namespace prospect
