// This project's own operators. Each has a plain composition of libtorch's operators in test/, which its test compares with.
#pragma once
#include <ATen/core/Tensor.h>

#include <c10/util/string_view.h>

#include <cstdint>
#include <tuple>

namespace prospect {

/// log softmax(hidden weight^T) at one target a row, `chunk` rows at a time in forward and backward, so that no tensor of size
/// rows x vocabulary lives. hidden [rows, width], weight [vocabulary, width] of the same dtype, targets int64 [rows] -> float32 [rows].
/// A soft cap c > 0 turns logits into c tanh(logits / c) first; 0: none. The softmax and the weight's gradient are summed in float32. `master`: see linear().
at::Tensor tokenLogps(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, int64_t chunk, double softCap,
                      const c10::optional<at::Tensor>& master);

/// The norm of all gradients together, float32 on the CPU; the same on any number of threads.
double gradientNorm(at::TensorList gradients);

/// One AdamW step (Loshchilov & Hutter, arXiv 1711.05101, as torch.optim computes it) over all parameters, float32 on the CPU, in place.
/// `step` counts from 1; gradients are multiplied by `gradientScale` first, which is how clipping costs no pass of its own.
void adamw(at::TensorList parameters, at::TensorList gradients, at::TensorList firstMoments, at::TensorList secondMoments, int64_t step,
           double learningRate, double beta1, double beta2, double epsilon, double weightDecay, double gradientScale);

/// The same with moments in 8 bits (Dettmers et al., arXiv 2110.02861): codes of the dynamic type, uint8 [blocks, 256], signed for the first moment and not for
/// the second, times a scale a block, float32 [blocks]; a block is 256 elements in row-major order, the last may have fewer. All 0 at the start.
void adamw8bit(at::TensorList parameters, at::TensorList gradients, at::TensorList firstCodes, at::TensorList firstScales, at::TensorList secondCodes,
               at::TensorList secondScales, int64_t step, double learningRate, double beta1, double beta2, double epsilon, double weightDecay,
               double gradientScale);

/// x weight^T + bias, as aten::linear: one node of autograd and two products behind it, where libtorch has three nodes. Where the weight is a rounded
/// copy, its `master` is the float32 leaf that it was rounded from: the weight's gradient is summed in float32 (composed/: rounded once a product) and added to the leaf's at once.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const c10::optional<at::Tensor>& bias, const c10::optional<at::Tensor>& master);

/// Rows of a weight [rows, width] by index, int64 [tokens] -> [tokens, width]. The gradient of a float32 leaf is added to the rows' own, without a tensor
/// of the weight's size for each pass.
at::Tensor tokenEmbedding(const at::Tensor& weight, const at::Tensor& tokens);

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

/// gated_activation(gate, up) weight^T, with `master` as in linear(): of the two [tokens, width] and what they give, only the two are kept for backward.
at::Tensor gatedLinear(const at::Tensor& gate, const at::Tensor& up, c10::string_view activation, const at::Tensor& weight,
                       const c10::optional<at::Tensor>& master);

/// Causal attention within the segments of a packed stream: queries [tokens, heads, headSize], keys and values [tokens, keyValueHeads, headSize]
/// -> [tokens, heads x headSize]. segments int32 [segments, 4]: start, length, parent (an earlier segment, or -1), foreign. A segment's tokens see
/// those before them in it, its parent and its parent's parents. A foreign segment lies in contextKeys and contextValues, [context tokens,
/// keyValueHeads, headSize], and is only seen; then nothing may ask for a gradient. Scores are scaled, capped at softCap (0: not) as in Gemma 2,
/// and reach back `window` tokens (0: all). The softmax is float32; forward keeps one float a token and head, backward computes weights again.
at::Tensor segmentAttention(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const at::Tensor& segments, double scale,
                            int64_t window, double softCap, const c10::optional<at::Tensor>& contextKeys, const c10::optional<at::Tensor>& contextValues);

/// Tokens of one page of the key-value cache.
constexpr int64_t cachePageTokens = 32;

/// Attention of tokens over the key-value cache of their rows, after storing their own keys and values in it. Row r's token at position p lies in
/// page pages[r, p / 32], at place p % 32; rows may share pages. A token sees what its row holds up to its own position, or the last `window` tokens of
/// that (0: all). Scores become c tanh(s / c) for a `soft_cap` c above 0. queries [tokens, heads, size], keys and values [tokens, keyValueHeads, size],
/// key_pool [pages, keyValueHeads, size, 32], value_pool [pages, keyValueHeads, 32, size rounded up to 16], all float32 or all bfloat16; pages int32
/// [rows, most pages] (-1: none), rows and positions int32 [tokens] -> [tokens, heads x size] of the queries' type. Softmax and sums are in float32.
at::Tensor pagedAttention(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const at::Tensor& keyPool, const at::Tensor& valuePool,
                          const at::Tensor& pages, const at::Tensor& rows, const at::Tensor& positions, double scale, int64_t window, double softCap);

/// One token a row of logits (float32 [rows, vocabulary]), and its log-probability under them as they are given: int64 [rows], float32 [rows].
/// Tokens seen before (int32, those of row r end at seen_ends[r]; a penalty of 1 needs none) have their logits divided by the penalty where positive, else
/// multiplied (Keskar et al., arXiv 1909.05858). Then a temperature of 0 takes the likeliest token, the first of several. Else logits are divided by it, and
/// the token is drawn from the `top_k` likeliest (0: all), of these from the fewest that hold `top_p` of their probability (Holtzman et al., arXiv
/// 1904.09751), of these from those at least `min_p` times as likely as the likeliest (arXiv 2407.01082), ties of the last included: by inversion, at
/// `shares` (float64 [rows], 0 <= share < 1) of the total. Throws where logits are not finite.
std::tuple<at::Tensor, at::Tensor> drawTokens(const at::Tensor& logits, const at::Tensor& shares, const at::Tensor& seen, const at::Tensor& seenEnds, double temperature,
                                              int64_t topK, double topP, double minP, double repetitionPenalty);

/// Blockwise quantisation of a weight, frozen: 64 weights in row-major order share the scale absmax. bits 4: NormalFloat (QLoRA, arXiv 2305.14314),
/// two a byte, the first in the high half; bits 8: integers, -127 ... 127. With `nestedScales` the scales are 8-bit themselves (dynamic type, 256 of
/// them share a scale, their mean is taken off first), and the third tensor is float32 [1 + groups]: the mean, then their scales; else it is empty.
/// -> data uint8 [weights x bits / 8], absmax float32 or uint8 [blocks], nested.
std::tuple<at::Tensor, at::Tensor, at::Tensor> quantize(const at::Tensor& weight, int64_t bits, bool nestedScales);

/// What quantize() stored, as float32 or bfloat16.
at::Tensor dequantize(const at::Tensor& data, const at::Tensor& absmax, const at::Tensor& nested, at::IntArrayRef shape, int64_t bits,
                      at::ScalarType dtype);

/// input W^T with a quantised W of `rows` rows: W exists in the input's dtype during the product only, in forward and again in backward.
/// input [tokens, width] -> [tokens, rows].
at::Tensor quantizedLinear(const at::Tensor& input, const at::Tensor& data, const at::Tensor& absmax, const at::Tensor& nested, int64_t rows,
                           int64_t bits);

/// Dropout whose mask is a function of seed, token key and column alone, so that it needs no memory, and a recomputed or differently packed pass
/// meets the same mask. input [tokens, width], keys int64 [tokens].
at::Tensor keyedDropout(const at::Tensor& input, const at::Tensor& keys, int64_t seed, double share);

}  // namespace prospect
