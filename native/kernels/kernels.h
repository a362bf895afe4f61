// This project's own operators. Each has a plain composition of libtorch's operators in test/, which its test compares with.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace prospect {

/// log softmax(hidden weight^T) at one target a row, `chunk` rows at a time in forward and backward, so that no tensor of size
/// rows x vocabulary lives. hidden [rows, width], weight [vocabulary, width] of the same dtype, targets int64 [rows] -> float32 [rows].
/// A soft cap c > 0 turns logits into c tanh(logits / c) first; 0: none. The softmax and the weight's gradient are summed in float32.
at::Tensor tokenLogps(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, int64_t chunk, double softCap);

/// One AdamW step (Loshchilov & Hutter, arXiv 1711.05101, as torch.optim computes it) over all parameters, float32 on the CPU, in place.
/// `step` counts from 1; gradients are multiplied by `gradientScale` first, which is how clipping costs no pass of its own.
void adamw(at::TensorList parameters, at::TensorList gradients, at::TensorList firstMoments, at::TensorList secondMoments, int64_t step,
           double learningRate, double beta1, double beta2, double epsilon, double weightDecay, double gradientScale);

}  // namespace prospect
