// Large bfloat16 matrix products on processors with tile registers (Intel AMX); those with float32 results also where there are only vectors of
// bfloat16 (AVX512-BF16): libtorch has products whose results are rounded, as fast there.
#pragma once
#include <ATen/core/Tensor.h>

namespace prospect {

/// A matrix [rows, columns] of bfloat16 whose rows or columns lie contiguously, `stride` elements apart.
struct Operand {
  const c10::BFloat16* data;
  int64_t rows, columns, stride;
  bool transposed;  // whether it is the columns that are contiguous
};

/// Whether this processor has tiles and the product of [rows, depth] and [depth, columns] is large enough for packing operands to pay.
bool tilesPay(int64_t rows, int64_t columns, int64_t depth);

/// The same for any number of rows and a weight [columns, depth], which lies as tiles do: then it is the rows that are packed.
bool weightTilesPay(int64_t rows, int64_t columns, int64_t depth);

/**
 * C [a.rows, b.columns] bfloat16, contiguous = A B, summed in float32 and rounded once. Only where one of these says so. The same on any number of threads.
 */
void multiplyInTiles(const Operand& a, const Operand& b, c10::BFloat16* c);

/// Whether that is so for a product with float32 results.
bool packedSumsPay(int64_t rows, int64_t columns, int64_t depth);

/// C [a.rows, b.columns] float32, contiguous = A B, or += with `add`.
void multiplyIntoSums(const Operand& a, const Operand& b, float* c, bool add);

}  // namespace prospect
