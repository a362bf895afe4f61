// The operators of this project, beside libtorch's own: called through the same dispatcher, checked by the same schemas.
#include <torch/library.h>

#include <string>

#include "composed/composed.h"
#include "kernels.h"

namespace prospect {
namespace {

/// Calls define(schema, kernel, composition) for each operator: the kernel is written for the CPU, the composition is made of libtorch's operators.
template <typename Define>
void eachOperator(const Define& define) {
  define("token_logps(Tensor hidden, Tensor weight, Tensor targets, int chunk, float soft_cap=0., Tensor? master=None) -> Tensor", &tokenLogps, &composed::tokenLogps);
  define("gradient_norm(Tensor[] gradients) -> float", &gradientNorm, &composed::gradientNorm);
  define(
      "adamw_(Tensor(a!)[] parameters, Tensor[] gradients, Tensor(b!)[] first_moments, Tensor(c!)[] second_moments, int step, "
      "float learning_rate, float beta1, float beta2, float epsilon, float weight_decay, float gradient_scale) -> ()",
      &adamw, &composed::adamw);
  define(
      "adamw_8bit_(Tensor(a!)[] parameters, Tensor[] gradients, Tensor(b!)[] first_codes, Tensor(c!)[] first_scales, Tensor(d!)[] second_codes, "
      "Tensor(e!)[] second_scales, int step, float learning_rate, float beta1, float beta2, float epsilon, float weight_decay, float gradient_scale) -> ()",
      &adamw8bit, &composed::adamw8bit);
  define("linear(Tensor x, Tensor weight, Tensor? bias=None, Tensor? master=None) -> Tensor", &linear, &composed::linear);
  define("token_embedding(Tensor weight, Tensor tokens) -> Tensor", &tokenEmbedding, &composed::tokenEmbedding);
  define("rms_norm(Tensor x, Tensor scale, float epsilon, float offset=0., ScalarType? dtype=None) -> Tensor", &rmsNorm, &composed::rmsNorm);
  define(
      "add_rms_norm(Tensor x, Tensor delta, Tensor scale, float epsilon, float offset=0., ScalarType? dtype=None) -> (Tensor, Tensor)",
      &addRmsNorm, &composed::addRmsNorm);
  define("rotary_embedding(Tensor queries, Tensor keys, Tensor cos, Tensor sin) -> (Tensor, Tensor)", &rotaryEmbedding, &composed::rotaryEmbedding);
  define("gated_activation(Tensor gate, Tensor up, str activation) -> Tensor", &gatedActivation, &composed::gatedActivation);
  define("gated_linear(Tensor gate, Tensor up, str activation, Tensor weight, Tensor? master=None) -> Tensor", &gatedLinear, &composed::gatedLinear);
  define(
      "segment_attention(Tensor queries, Tensor keys, Tensor values, Tensor segments, float scale, int window=0, float soft_cap=0., "
      "Tensor? context_keys=None, Tensor? context_values=None) -> Tensor",
      &segmentAttention, &composed::segmentAttention);
  define(
      "paged_attention_(Tensor queries, Tensor keys, Tensor values, Tensor(a!) key_pool, Tensor(b!) value_pool, Tensor pages, Tensor rows, "
      "Tensor positions, float scale, int window, float soft_cap) -> Tensor",
      &pagedAttention, &composed::pagedAttention);
  define(
      "draw_tokens(Tensor logits, Tensor shares, Tensor seen, Tensor seen_ends, float temperature, int top_k, float top_p, float min_p, "
      "float repetition_penalty) -> (Tensor, Tensor)",
      &drawTokens, &composed::drawTokens);
  define("quantize(Tensor weight, int bits, bool nested_scales) -> (Tensor, Tensor, Tensor)", &quantize, &composed::quantize);
  define("dequantize(Tensor data, Tensor absmax, Tensor nested, int[] shape, int bits, ScalarType dtype) -> Tensor", &dequantize, &composed::dequantize);
  define("quantized_linear(Tensor input, Tensor data, Tensor absmax, Tensor nested, int rows, int bits) -> Tensor", &quantizedLinear, &composed::quantizedLinear);
  define("keyed_dropout(Tensor input, Tensor keys, int seed, float share) -> Tensor", &keyedDropout, &composed::keyedDropout);
}

}  // namespace
}  // namespace prospect

// The one place where a device chooses: kernels are registered for the CPU, so that the dispatcher takes the composition for tensors on any other.
TORCH_LIBRARY(prospect, library) {
  prospect::eachOperator([&](const char* schema, auto kernel, auto composition) {
    const std::string text(schema);
    const auto name = text.substr(0, text.find('('));
    library.def(schema, composition);
    library.impl(name.c_str(), torch::dispatch(c10::DispatchKey::CPU, kernel));
    library.impl(name.c_str(), torch::dispatch(c10::DispatchKey::AutogradCPU, kernel));
  });
}

// The compositions on every device, by names of their own: tests compare them with the kernels, and PROSPECT_KERNELS=composed computes with them.
TORCH_LIBRARY(prospect_composed, library) {
  prospect::eachOperator([&](const char* schema, auto, auto composition) { library.def(schema, composition); });
}
