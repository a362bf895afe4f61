// The operators of kernels/kernels.h, made of libtorch's own: what computes them on every device but the CPU. kernels/library.cc says which is used
// where. Signatures and meaning are those of kernels.h; test/tensor/composed.test.ts compares the two on the CPU.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/util/string_view.h>

#include <cstdint>
#include <tuple>

namespace prospect {
namespace composed {

at::Tensor tokenLogps(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, int64_t chunk, double softCap,
                      const c10::optional<at::Tensor>& master);
double gradientNorm(at::TensorList gradients);
void adamw(at::TensorList parameters, at::TensorList gradients, at::TensorList firstMoments, at::TensorList secondMoments, int64_t step,
           double learningRate, double beta1, double beta2, double epsilon, double weightDecay, double gradientScale);
void adamw8bit(at::TensorList parameters, at::TensorList gradients, at::TensorList firstCodes, at::TensorList firstScales, at::TensorList secondCodes,
               at::TensorList secondScales, int64_t step, double learningRate, double beta1, double beta2, double epsilon, double weightDecay,
               double gradientScale);
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const c10::optional<at::Tensor>& bias, const c10::optional<at::Tensor>& master);
at::Tensor tokenEmbedding(const at::Tensor& weight, const at::Tensor& tokens);
at::Tensor rmsNorm(const at::Tensor& x, const at::Tensor& scale, double epsilon, double offset, c10::optional<at::ScalarType> dtype);
std::tuple<at::Tensor, at::Tensor> addRmsNorm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& scale, double epsilon, double offset,
                                              c10::optional<at::ScalarType> dtype);
std::tuple<at::Tensor, at::Tensor> rotaryEmbedding(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& cos, const at::Tensor& sin);
at::Tensor gatedActivation(const at::Tensor& gate, const at::Tensor& up, c10::string_view activation);
at::Tensor gatedLinear(const at::Tensor& gate, const at::Tensor& up, c10::string_view activation, const at::Tensor& weight,
                       const c10::optional<at::Tensor>& master);
/// `segments` lies on the CPU: it decides what is computed, not with which numbers.
at::Tensor segmentAttention(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const at::Tensor& segments, double scale,
                            int64_t window, double softCap, const c10::optional<at::Tensor>& contextKeys, const c10::optional<at::Tensor>& contextValues);
/// `pages`, `rows` and `positions` lie on the CPU.
at::Tensor pagedAttention(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const at::Tensor& keyPool, const at::Tensor& valuePool,
                          const at::Tensor& pages, const at::Tensor& rows, const at::Tensor& positions, double scale, int64_t window, double softCap);
/// Gives its results on the CPU, where they are read. Only the likeliest token is found on the device; for draws the logits are copied.
std::tuple<at::Tensor, at::Tensor> drawTokens(const at::Tensor& logits, const at::Tensor& shares, const at::Tensor& seen, const at::Tensor& seenEnds, double temperature,
                                              int64_t topK, double topP, double minP, double repetitionPenalty);
std::tuple<at::Tensor, at::Tensor, at::Tensor> quantize(const at::Tensor& weight, int64_t bits, bool nestedScales);
at::Tensor dequantize(const at::Tensor& data, const at::Tensor& absmax, const at::Tensor& nested, at::IntArrayRef shape, int64_t bits,
                      at::ScalarType dtype);
at::Tensor quantizedLinear(const at::Tensor& input, const at::Tensor& data, const at::Tensor& absmax, const at::Tensor& nested, int64_t rows,
                           int64_t bits);
at::Tensor keyedDropout(const at::Tensor& input, const at::Tensor& keys, int64_t seed, double share);

}  // namespace composed
}  // namespace prospect
