#include <ATen/ops/isfinite.h>

#include "composed/composed.h"
#include "kernels/kernels.h"

namespace prospect {
namespace composed {

std::tuple<at::Tensor, at::Tensor> drawTokens(const at::Tensor& logits, const at::Tensor& shares, const at::Tensor& seen, const at::Tensor& seenEnds, double temperature,
                                              int64_t topK, double topP, double minP, double repetitionPenalty) {
  if (temperature > 0 || repetitionPenalty != 1) return prospect::drawTokens(logits.cpu(), shares, seen, seenEnds, temperature, topK, topP, minP, repetitionPenalty);
  const auto tokens = logits.argmax(1);
  const auto logps = logits.gather(1, tokens.unsqueeze(1)).squeeze(1).sub_(logits.logsumexp({1}));
  TORCH_CHECK(at::isfinite(logits).all().item<bool>(), "the model gives logits that are NaN or infinite: its weights are damaged, or its training diverged");
  return {tokens.cpu(), logps.cpu()};
}

}  // namespace composed
}  // namespace prospect
