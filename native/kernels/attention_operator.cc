// Segment attention as an operator with a gradient.
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include "attention.h"
#include "dispatch.h"
#include "kernels.h"

namespace prospect {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

HeadsView viewOf(const at::Tensor& x) {
  const bool dense = x.stride(2) == 1 && x.stride(1) == x.size(2);
  const auto tensor = dense ? x : x.contiguous();
  return {tensor, tensor.size(1), tensor.size(2), tensor.stride(0)};
}

struct SegmentAttention : torch::autograd::Function<SegmentAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const at::Tensor& segments,
                            double scale, int64_t window, double softCap) {
    const auto tokens = queries.size(0), heads = queries.size(1);
    const auto output = at::empty({tokens, heads * queries.size(2)}, queries.options());
    const auto logSums = at::empty({heads, tokens}, queries.options().dtype(at::kFloat));
    attentionForward({viewOf(queries), viewOf(keys), viewOf(values), {}, {}}, Segments(segments, tokens, 0), {scale, window, softCap}, output, logSums);
    context->save_for_backward({queries, keys, values, segments, output, logSums});
    context->saved_data["scale"] = scale;
    context->saved_data["window"] = window;
    context->saved_data["softCap"] = softCap;
    return output;
  }

  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const auto saved = context->get_saved_variables();
    const auto &queries = saved[0], &keys = saved[1], &values = saved[2], &segments = saved[3], &output = saved[4], &logSums = saved[5];
    const AttentionOptions options{context->saved_data["scale"].toDouble(), context->saved_data["window"].toInt(), context->saved_data["softCap"].toDouble()};
    const auto ofQueries = at::empty(queries.sizes(), queries.options()), ofKeys = at::empty(keys.sizes(), keys.options()),
               ofValues = at::empty(values.sizes(), values.options());
    attentionBackward({viewOf(queries), viewOf(keys), viewOf(values), {}, {}}, Segments(segments, queries.size(0), 0), options, output, logSums,
                      outputs[0].contiguous(), ofQueries, ofKeys, ofValues);
    return {ofQueries, ofKeys, ofValues, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor segmentAttention(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const at::Tensor& segments, double scale,
                            int64_t window, double softCap, const c10::optional<at::Tensor>& contextKeys, const c10::optional<at::Tensor>& contextValues) {
  TORCH_CHECK(queries.dim() == 3 && keys.dim() == 3 && keys.sizes() == values.sizes(), "queries must be [tokens, heads, headSize], keys and values alike");
  TORCH_CHECK(keys.size(0) == queries.size(0) && keys.size(2) == queries.size(2) && queries.size(1) % keys.size(1) == 0,
              "queries and keys must agree in tokens and head size, and heads must be a multiple of key-value heads");
  TORCH_CHECK(queries.scalar_type() == keys.scalar_type() && keys.scalar_type() == values.scalar_type(), "queries, keys and values must have one dtype");
  TORCH_CHECK(window >= 0 && softCap >= 0, "window and soft_cap must not be negative");
  const bool context = contextKeys.has_value() && contextKeys->defined();
  if (!context && needsGradient({queries, keys, values})) return SegmentAttention::apply(queries, keys, values, segments, scale, window, softCap);
  HeadsView outerKeys{}, outerValues{};
  if (context) {
    TORCH_CHECK(!needsGradient({queries, keys, values}), "attention to a context has no gradient: call it without recording");
    TORCH_CHECK(contextValues.has_value() && contextKeys->sizes() == contextValues->sizes() && contextKeys->dim() == 3 &&
                    contextKeys->size(1) == keys.size(1) && contextKeys->size(2) == keys.size(2) && contextKeys->scalar_type() == keys.scalar_type() &&
                    contextValues->scalar_type() == keys.scalar_type(),
                "the context's keys and values must be like the others but for the number of tokens");
    outerKeys = viewOf(*contextKeys);
    outerValues = viewOf(*contextValues);
  }
  const auto output = at::empty({queries.size(0), queries.size(1) * queries.size(2)}, queries.options());
  attentionForward({viewOf(queries), viewOf(keys), viewOf(values), outerKeys, outerValues},
                   Segments(segments, queries.size(0), context ? contextKeys->size(0) : 0), {scale, window, softCap}, output, at::Tensor());
  return output;
}

}  // namespace prospect
