// Matrix products: libtorch's, but on the CPU for small float32 ones, where calling a BLAS costs as much as the arithmetic, and for bfloat16 ones on
// processors with tiles.
#pragma once
#include <ATen/core/Tensor.h>

namespace prospect {

/// a b^T; a [rows, depth], b [columns, depth].
at::Tensor timesTransposed(const at::Tensor& a, const at::Tensor& b);

/// a b; a [rows, depth], b [depth, columns].
at::Tensor times(const at::Tensor& a, const at::Tensor& b);

/// a^T b; a [depth, rows], b [depth, columns].
at::Tensor transposedTimes(const at::Tensor& a, const at::Tensor& b);

/// sums = a^T b, or += with `add`, in float32 whatever the operands are; sums float32 [rows, columns], contiguous.
void transposedTimesInto(const at::Tensor& sums, const at::Tensor& a, const at::Tensor& b, bool add);

}  // namespace prospect
