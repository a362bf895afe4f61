#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/embedding.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "dispatch.h"
#include "kernels.h"
#include "leaf.h"

namespace prospect {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor rowsOf(const at::Tensor& weight, const at::Tensor& tokens) {
  const at::AutoDispatchBelowADInplaceOrView below;
  return at::embedding(weight, tokens);
}

/// sums[tokens[i]] += upstream[i]. Threads share the columns, so that a token that comes twice is added to by one of them, in its order.
void addRows(const at::Tensor& sums, const at::Tensor& tokens, const at::Tensor& upstream) {
  const int64_t count = tokens.numel(), width = sums.size(1);
  const auto* ids = tokens.data_ptr<int64_t>();
  const auto* from = upstream.data_ptr<float>();
  auto* to = sums.data_ptr<float>();
  at::parallel_for(0, width, std::max<int64_t>(16, kElementsPerThread / std::max<int64_t>(1, count)), [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < count; i++)
      for (int64_t j = begin; j < end; j++) to[ids[i] * width + j] += from[i * width + j];
  });
}

struct TokenEmbedding : torch::autograd::Function<TokenEmbedding> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& weight, const at::Tensor& tokens) {
    context->save_for_backward({tokens});
    context->saved_data["leaf"] = weight;
    return rowsOf(weight, tokens);
  }
  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto tokens = context->get_saved_variables()[0], upstream = outputs[0].contiguous();
    addToGradient(context->saved_data["leaf"].toTensor(), [&](const at::Tensor& sums, bool add) {
      if (!add) at::Tensor(sums).zero_();
      addRows(sums, tokens, upstream);
    });
    return {at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor tokenEmbedding(const at::Tensor& weight, const at::Tensor& tokens) {
  TORCH_CHECK(weight.dim() == 2 && tokens.dim() == 1 && tokens.scalar_type() == at::kLong && tokens.is_contiguous(),
              "weight must be [rows, width] and tokens contiguous int64 [tokens], got ", weight.sizes(), " and ", tokens.sizes());
  if (!needsGradient({weight})) return rowsOf(weight, tokens);
  if (!weight.is_leaf() || weight.scalar_type() != at::kFloat || !weight.is_contiguous()) return at::embedding(weight, tokens);
  return TokenEmbedding::apply(weight, tokens);
}

}  // namespace prospect
