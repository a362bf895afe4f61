// This project's own operators. Each has a plain composition of libtorch's operators in test/, which its test compares with.
#pragma once
#include <ATen/core/Tensor.h>

#include <c10/util/string_view.h>

#include <cstdint>
#include <tuple>

namespace prospect {

/// log softmax(hidden weight^T) at one target a row, `chunk` rows at a time in forward and backward, so that no tensor of size
/// rows x vocabulary lives. hidden [rows, width], weight [vocabulary, width] of the same dtype, targets int64 [rows] -> float32 [rows].
/// A soft cap c > 0 turns logits into c tanh(logits / c) first; 0: none. The softmax and the weight's gradient are summed in float32.
at::Tensor tokenLogps(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, int64_t chunk, double softCap);

/// One AdamW step (Loshchilov & Hutter, arXiv 1711.05101, as torch.optim computes it) over all parameters, float32 on the CPU, in place.
/// `step` counts from 1; gradients are multiplied by `gradientScale` first, which is how clipping costs no pass of its own.
void adamw(at::TensorList parameters, at::TensorList gradients, at::TensorList firstMoments, at::TensorList secondMoments, int64_t step,
           double learningRate, double beta1, double beta2, double epsilon, double weightDecay, double gradientScale);

/// x weight^T + bias, as aten::linear: one node of autograd and two products behind it, where libtorch has three nodes.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const c10::optional<at::Tensor>& bias);

/// RMSNorm (arXiv 1910.07467): x / sqrt(mean(x^2) + epsilon) (scale + offset), in float32, given as `dtype` (x's own where there is none).
/// x [..., width] float32 or bfloat16; scale float32 [width]. Offset 1 is Gemma's.
at::Tensor rmsNorm(const at::Tensor& x, const at::Tensor& scale, double epsilon, double offset, c10::optional<at::ScalarType> dtype);

/// x + delta, of x's dtype, and its RMSNorm: the residual sum and what the next layer reads, in one pass.
std::tuple<at::Tensor, at::Tensor> addRmsNorm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& scale, double epsilon, double offset,
                                              c10::optional<at::ScalarType> dtype);

/// Rotary positions (arXiv 2104.09864) in Hugging Face's layout: elements i and i + r / 2 of a head turn together, where r = cos.size(-1) is at
/// most the head's size; what lies beyond stays. queries, keys [tokens, heads, headSize]; cos, sin float32 [tokens, 1, r], of which the first
/// half is read.
std::tuple<at::Tensor, at::Tensor> rotaryEmbedding(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& cos, const at::Tensor& sin);

/// activation(gate) up, element by element; 'silu', 'gelu' (exact), 'gelu_tanh' or 'relu'. Both [tokens, width]; they may be halves of one product.
at::Tensor gatedActivation(const at::Tensor& gate, const at::Tensor& up, c10::string_view activation);

/// Causal attention within the segments of a packed stream: queries [tokens, heads, headSize], keys and values [tokens, keyValueHeads, headSize]
/// -> [tokens, heads x headSize]. segments int32 [segments, 4]: start, length, parent (an earlier segment, or -1), foreign. A segment's tokens see
/// those before them in it, its parent and its parent's parents. A foreign segment lies in contextKeys and contextValues, [context tokens,
/// keyValueHeads, headSize], and is only seen; then nothing may ask for a gradient. Scores are scaled, capped at softCap (0: not) as in Gemma 2,
/// and reach back `window` tokens (0: all). The softmax is float32; forward keeps one float a token and head, backward computes weights again.
at::Tensor segmentAttention(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const at::Tensor& segments, double scale,
                            int64_t window, double softCap, const c10::optional<at::Tensor>& contextKeys, const c10::optional<at::Tensor>& contextValues);

}  // namespace prospect
