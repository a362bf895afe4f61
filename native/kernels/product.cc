#include "product.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <vector>

#include "gemm.h"
#include "simd.h"
#include "tiles.h"

namespace prospect {
namespace {

/// Up to this many multiplications a product is computed here: chosen by bench/overhead's model, whose products are all below it.
constexpr int64_t kSmall = 1 << 24;
/// Multiplications of one thread's share: chosen by bench/overhead.
constexpr int64_t kGrain = 1 << 20;

/// A matrix by its strides, in elements.
struct Left {
  const float* data;
  int64_t row, depth;
};

/// `kRows` rows of C by 32 columns, kept in registers over the depth.
template <int kRows>
PROSPECT_INLINE inline void block(const Left& a, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t depth) {
  Floats sums[kRows][2];
  for (int i = 0; i < kRows; i++) sums[i][0] = sums[i][1] = all(0);
  for (int64_t k = 0; k < depth; k++) {
    const Floats left = load(b + k * ldb), right = load(b + k * ldb + kLanes);
    for (int i = 0; i < kRows; i++) {
      const float scalar = a.data[i * a.row + k * a.depth];
      sums[i][0] += scalar * left;
      sums[i][1] += scalar * right;
    }
  }
  for (int i = 0; i < kRows; i++) {
    store(c + i * ldc, sums[i][0]);
    store(c + i * ldc + kLanes, sums[i][1]);
  }
}

template <int kRows>
PROSPECT_INLINE inline void rowsOf(const Left& a, const float* b, int64_t ldb, int64_t panelStep, float* c, int64_t rows, int64_t columns, int64_t depth) {
  for (int64_t column = 0; column < columns; column += kPanel) {
    const float* panel = b + column / kPanel * panelStep;
    int64_t row = 0;
    for (; row + kRows <= rows; row += kRows)
      block<kRows>({a.data + row * a.row, a.row, a.depth}, panel, ldb, c + row * columns + column, columns, depth);
    for (; row < rows; row++) block<1>({a.data + row * a.row, a.row, a.depth}, panel, ldb, c + row * columns + column, columns, depth);
  }
}

/// result [rows, columns] = A B, rows spread over threads. B's panels of 32 columns lie `panelStep` apart, their rows `ldb`.
at::Tensor multiplied(const Left& a, const float* b, int64_t ldb, int64_t panelStep, int64_t depth, const at::Tensor& result) {
  const int64_t rows = result.size(0), columns = result.size(1);
  float* c = result.data_ptr<float>();
  const int64_t grain = std::max<int64_t>(8, roundUp(kGrain / std::max<int64_t>(1, columns * depth), 8));
  at::parallel_for(0, (rows + 7) / 8, grain / 8, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * 8, count = std::min(rows, end * 8) - first;
    const Left own{a.data + first * a.row, a.row, a.depth};
#if defined(__x86_64__)
    if (isa() == Isa::Avx512) return runAvx512([&]() PROSPECT_INLINE { rowsOf<8>(own, b, ldb, panelStep, c + first * columns, count, columns, depth); });
#endif
    vectorised([&]() PROSPECT_INLINE { rowsOf<3>(own, b, ldb, panelStep, c + first * columns, count, columns, depth); });
  });
  return result;
}

bool small(const at::Tensor& a, const at::Tensor& b, int64_t rows, int64_t columns, int64_t depth) {
  const auto plain = [](const at::Tensor& x) { return x.scalar_type() == at::kFloat && x.device().is_cpu() && x.is_contiguous(); };
  return rows * columns * depth <= kSmall && rows > 0 && depth > 0 && columns % kPanel == 0 && plain(a) && plain(b);
}

/// Panels of b^T: within one, element k of 32 columns side by side. In memory of this thread, until its next call.
const float* packed(const float* b, int64_t columns, int64_t depth) {
  static thread_local std::vector<float> panels;
  if (panels.size() < static_cast<size_t>(columns * depth)) panels.resize(columns * depth);
  for (int64_t column = 0; column < columns; column += kPanel) {
    float* panel = panels.data() + column * depth;
    const float* from = b + column * depth;
    for (int64_t k = 0; k < depth; k++)
      for (int64_t j = 0; j < kPanel; j++) panel[k * kPanel + j] = from[j * depth + k];
  }
  return panels.data();
}

bool plainBfloat16(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16 && x.device().is_cpu() && x.is_contiguous(); }

bool inTiles(const at::Tensor& a, const at::Tensor& b, int64_t rows, int64_t columns, int64_t depth) {
  return plainBfloat16(a) && plainBfloat16(b) && tilesPay(rows, columns, depth);
}

Operand operandOf(const at::Tensor& x, bool transposed) {
  return {x.data_ptr<bfloat16>(), x.size(transposed ? 1 : 0), x.size(transposed ? 0 : 1), x.size(1), transposed};
}

at::Tensor tiled(const at::Tensor& a, bool aTransposed, const at::Tensor& b, bool bTransposed) {
  const Operand left = operandOf(a, aTransposed), right = operandOf(b, bTransposed);
  auto result = at::empty({left.rows, right.columns}, a.options());
  multiplyInTiles(left, right, result.data_ptr<bfloat16>());
  return result;
}

at::Tensor smallTransposedTimes(const at::Tensor& a, const at::Tensor& b, const at::Tensor& result) {
  return multiplied({a.data_ptr<float>(), 1, a.size(1)}, b.data_ptr<float>(), b.size(1), kPanel, a.size(0), result);
}

}  // namespace

at::Tensor timesTransposed(const at::Tensor& a, const at::Tensor& b) {
  const auto rows = a.size(0), columns = b.size(0), depth = a.size(1);
  if (plainBfloat16(a) && plainBfloat16(b) && (weightTilesPay(rows, columns, depth) || tilesPay(rows, columns, depth))) return tiled(a, false, b, true);
  if (!small(a, b, rows, columns, depth)) return at::mm(a, b.t());
  const auto* panels = packed(b.data_ptr<float>(), columns, depth);
  return multiplied({a.data_ptr<float>(), depth, 1}, panels, kPanel, kPanel * depth, depth, at::empty({rows, columns}, a.options()));
}

at::Tensor times(const at::Tensor& a, const at::Tensor& b) {
  const auto rows = a.size(0), columns = b.size(1), depth = a.size(1);
  if (inTiles(a, b, rows, columns, depth)) return tiled(a, false, b, false);
  if (!small(a, b, rows, columns, depth)) return at::mm(a, b);
  return multiplied({a.data_ptr<float>(), depth, 1}, b.data_ptr<float>(), columns, kPanel, depth, at::empty({rows, columns}, a.options()));
}

at::Tensor transposedTimes(const at::Tensor& a, const at::Tensor& b) {
  const auto rows = a.size(1), columns = b.size(1), depth = a.size(0);
  if (inTiles(a, b, rows, columns, depth)) return tiled(a, true, b, false);
  if (!small(a, b, rows, columns, depth)) return at::mm(a.t(), b);
  return smallTransposedTimes(a, b, at::empty({rows, columns}, a.options()));
}

void transposedTimesInto(const at::Tensor& sums, const at::Tensor& a, const at::Tensor& b, bool add) {
  const auto rows = a.size(1), columns = b.size(1), depth = a.size(0);
  if (plainBfloat16(a) && plainBfloat16(b) && packedSumsPay(rows, columns, depth))
    return multiplyIntoSums(operandOf(a, true), operandOf(b, false), sums.data_ptr<float>(), add);
  if (!add && small(a, b, rows, columns, depth)) smallTransposedTimes(a, b, sums);
  else if (a.scalar_type() == at::kFloat) at::Tensor(sums).addmm_(a.t(), b, add ? 1 : 0);
  else {
    // In float32, some of the depth after some: a copy of all of A might be twice the largest tensor of a step.
    const auto part = std::max<int64_t>(1, (1 << 24) / std::max<int64_t>(1, rows));
    for (int64_t first = 0; first < depth; first += part) {
      const auto count = std::min(part, depth - first);
      const auto of = [&](const at::Tensor& x) { return x.narrow(0, first, count).to(at::kFloat); };
      at::Tensor(sums).addmm_(of(a).t(), of(b), add || first > 0 ? 1 : 0);
    }
    if (depth == 0 && !add) at::Tensor(sums).zero_();
  }
}

}  // namespace prospect
