// Small matrix products for kernels that work tile by tile: one thread, packed operands, float32 sums.
#pragma once
#include <c10/util/BFloat16.h>

#include <cstdint>

namespace prospect {

constexpr int64_t kPanel = 32;  // columns of the packed operand that lie together

inline int64_t roundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

/**
 * C [rows, columns] = or += A [rows, depth] B [depth, columns].
 *
 * A: row-major, `lda` elements a row. B: panels of 32 columns; within one, in float the rows one after the other, in bfloat16 pairs of rows,
 * column by column (b[2k][j], b[2k+1][j]). C: row-major, `ldc` floats a row. Columns and, in bfloat16, depth are multiples of 32; A and C have
 * memory for rows up to a multiple of 32, whose contents beyond `rows` are arbitrary but, in A, finite.
 */
void multiply(const float* a, int64_t lda, const float* b, float* c, int64_t ldc, int64_t rows, int64_t columns, int64_t depth, bool add);
void multiply(const c10::BFloat16* a, int64_t lda, const c10::BFloat16* b, float* c, int64_t ldc, int64_t rows, int64_t columns, int64_t depth, bool add);

/// Whether this processor multiplies bfloat16 natively; without it the bfloat16 multiply() must not be called.
bool multipliesBfloat16();

/// Whether it has tile registers (Intel AMX) for that, and this process may use them: Linux gives them to processes that ask.
bool hasTiles();

/// Around a thread's bfloat16 products: holds the processor's tile registers, where it has them.
class TileScope {
 public:
  TileScope();
  ~TileScope();
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

}  // namespace prospect
