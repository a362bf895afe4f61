#pragma once
#include <ATen/core/Tensor.h>

#include "segments.h"

namespace prospect {

struct AttentionOptions {
  double scale;
  int64_t window;   // a token sees itself and the window - 1 before it; 0: all before it
  double softCap;   // scores become softCap tanh(score / softCap); 0: they stay
};

/// Rows of [tokens, heads, headSize], heads dense, tokens `stride` elements apart.
struct HeadsView {
  at::Tensor tensor;
  int64_t heads, size, stride;
};

struct AttentionInputs {
  HeadsView queries, keys, values, contextKeys, contextValues;  // the last two undefined where no segment is foreign
};

/// Writes output [tokens, heads x headSize] and, where defined, logSums float32 [heads, tokens].
void attentionForward(const AttentionInputs& inputs, const Segments& segments, const AttentionOptions& options, const at::Tensor& output,
                      const at::Tensor& logSums);

/// Writes the gradients, each [tokens, heads, headSize], dense.
void attentionBackward(const AttentionInputs& inputs, const Segments& segments, const AttentionOptions& options, const at::Tensor& output,
                       const at::Tensor& logSums, const at::Tensor& upstream, const at::Tensor& ofQueries, const at::Tensor& ofKeys,
                       const at::Tensor& ofValues);

}  // namespace prospect
