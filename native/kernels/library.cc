// The operators of this project, beside libtorch's own: called through the same dispatcher, checked by the same schemas.
#include <torch/library.h>

#include "kernels.h"

TORCH_LIBRARY(prospect, library) {
  library.def("token_logps(Tensor hidden, Tensor weight, Tensor targets, int chunk, float soft_cap=0.) -> Tensor", &prospect::tokenLogps);
  library.def("gradient_norm(Tensor[] gradients) -> float", &prospect::gradientNorm);
  library.def(
      "adamw_(Tensor(a!)[] parameters, Tensor[] gradients, Tensor(b!)[] first_moments, Tensor(c!)[] second_moments, int step, "
      "float learning_rate, float beta1, float beta2, float epsilon, float weight_decay, float gradient_scale) -> ()",
      &prospect::adamw);
  library.def("linear(Tensor x, Tensor weight, Tensor? bias=None) -> Tensor", &prospect::linear);
  library.def("rms_norm(Tensor x, Tensor scale, float epsilon, float offset=0., ScalarType? dtype=None) -> Tensor", &prospect::rmsNorm);
  library.def(
      "add_rms_norm(Tensor x, Tensor delta, Tensor scale, float epsilon, float offset=0., ScalarType? dtype=None) -> (Tensor, Tensor)",
      &prospect::addRmsNorm);
  library.def("rotary_embedding(Tensor queries, Tensor keys, Tensor cos, Tensor sin) -> (Tensor, Tensor)", &prospect::rotaryEmbedding);
  library.def("gated_activation(Tensor gate, Tensor up, str activation) -> Tensor", &prospect::gatedActivation);
  library.def(
      "segment_attention(Tensor queries, Tensor keys, Tensor values, Tensor segments, float scale, int window=0, float soft_cap=0., "
      "Tensor? context_keys=None, Tensor? context_values=None) -> Tensor",
      &prospect::segmentAttention);
  library.def(
      "paged_attention_(Tensor queries, Tensor keys, Tensor values, Tensor(a!) key_pool, Tensor(b!) value_pool, Tensor pages, Tensor rows, "
      "Tensor positions, float scale, int window, float soft_cap) -> Tensor",
      &prospect::pagedAttention);
  library.def(
      "draw_tokens(Tensor logits, Tensor shares, Tensor seen, Tensor seen_ends, float temperature, int top_k, float top_p, float min_p, "
      "float repetition_penalty) -> (Tensor, Tensor)",
      &prospect::drawTokens);
  library.def("quantize(Tensor weight, int bits, bool nested_scales) -> (Tensor, Tensor, Tensor)", &prospect::quantize);
  library.def("dequantize(Tensor data, Tensor absmax, Tensor nested, int[] shape, int bits, ScalarType dtype) -> Tensor", &prospect::dequantize);
  library.def("quantized_linear(Tensor input, Tensor data, Tensor absmax, Tensor nested, int rows, int bits) -> Tensor", &prospect::quantizedLinear);
  library.def("keyed_dropout(Tensor input, Tensor keys, int seed, float share) -> Tensor", &prospect::keyedDropout);
}
