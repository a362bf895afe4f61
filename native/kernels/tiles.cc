#include "tiles.h"

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "gemm.h"
#include "tiles_packing.h"

namespace prospect {

#if defined(__x86_64__)
namespace {

#define PROSPECT_AMX __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16")))

constexpr int64_t kBlockBytes = 900 << 10;     // of B that a thread works through: fits a second-level cache of 2 MiB, with room for A
constexpr int64_t kDotBlockBytes = 600 << 10;  // the same without tiles, where second-level caches of 1 MiB are common
constexpr int64_t kDotDepth = 1024;            // of which A is packed, and multiplied, at a time there
constexpr int64_t kChunk = 128;                // rows of A of one task
constexpr int64_t kFew = 128;                  // rows of a product up to which its transpose is faster: measured
constexpr int64_t kFewOfLarge = 512;           // the same where the weight is larger than any cache
constexpr int64_t kSlice = 4096;               // depth of which operands are packed at a time, where it is more than twice that

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
template <typename T>
std::unique_ptr<T, Free> aligned(int64_t count) {
  auto* memory = std::aligned_alloc(64, static_cast<size_t>(count) * sizeof(T));
  if (memory == nullptr) throw std::bad_alloc();
  return std::unique_ptr<T, Free>(static_cast<T*>(memory));
}

/// Two tiles of A, one below the other, at the block's first depth; or of packed B, side by side.
struct TwoTiles {
  const bfloat16 *first, *second;
  int64_t stride;  // bytes from row to row
  int64_t step;    // elements to the next 32 of the depth
};

/// Sums [32, 32] = the two tiles of A times the two of B over the depth. `ahead`: the 32 rows of A after these are fetched meanwhile.
template <bool ahead>
PROSPECT_AMX inline void multiplyFour(const TwoTiles& a, const bfloat16* b, int64_t depth, float* sums) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t k = 0, at = 0; k < depth; k += kDepth, at += a.step, b += kPair) {
    // The next tiles of B come from the second-level cache meanwhile; loading a tile would wait for them.
#pragma GCC unroll 32
    for (int64_t line = 0; line < kTwo; line++) _mm_prefetch(reinterpret_cast<const char*>(b + kPair + line * kDepth), _MM_HINT_T0);
    if (ahead) {
#pragma GCC unroll 32
      for (int64_t row = 0; row < kTwo; row++) _mm_prefetch(reinterpret_cast<const char*>(a.first + at) + (kTwo + row) * a.stride, _MM_HINT_T1);
    }
    _tile_loadd(6, b, 64);
    _tile_loadd(4, a.first + at, a.stride);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + kPair / 2, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, a.second + at, a.stride);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, sums, kTwo * 4);
  _tile_stored(1, sums + kTile, kTwo * 4);
  _tile_stored(2, sums + kTile * kTwo, kTwo * 4);
  _tile_stored(3, sums + kTile * kTwo + kTile, kTwo * 4);
}

/// `kRows` rows of A by the two tiles of B over the depth, in registers: what multiplyFour does, on processors that multiply bfloat16 without tiles.
template <int kRows>
PROSPECT_DOTS inline void multiplyRows(const bfloat16* a, const bfloat16* b, int64_t depth, float* sums, bool add) {
  __m512 left[kRows], right[kRows];
#pragma GCC unroll 16
  for (int row = 0; row < kRows; row++) {
    left[row] = add ? _mm512_load_ps(sums + row * kTwo) : _mm512_setzero_ps();
    right[row] = add ? _mm512_load_ps(sums + row * kTwo + kTile) : _mm512_setzero_ps();
  }
  for (int64_t k = 0; k < depth; k += kDepth, a += kPair, b += kPair) {
    for (int64_t pair = 0; pair < kTile; pair++) {
      const auto first = (__m512bh)_mm512_load_si512(b + pair * kDepth), second = (__m512bh)_mm512_load_si512(b + kPair / 2 + pair * kDepth);
#pragma GCC unroll 16
      for (int row = 0; row < kRows; row++) {
        int32_t pairOfRow;
        std::memcpy(&pairOfRow, a + row * kDepth + 2 * pair, sizeof(pairOfRow));
        const auto both = (__m512bh)_mm512_set1_epi32(pairOfRow);
        left[row] = _mm512_dpbf16_ps(left[row], both, first);
        right[row] = _mm512_dpbf16_ps(right[row], both, second);
      }
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < kRows; row++) {
    _mm512_store_ps(sums + row * kTwo, left[row]);
    _mm512_store_ps(sums + row * kTwo + kTile, right[row]);
  }
}

PROSPECT_DOTS void multiplyDots(const bfloat16* a, const bfloat16* b, int64_t depth, float* sums, bool add) {
  multiplyRows<11>(a, b, depth, sums, add);
  multiplyRows<11>(a + 11 * kDepth, b, depth, sums + 11 * kTwo, add);
  multiplyRows<10>(a + 22 * kDepth, b, depth, sums + 22 * kTwo, add);
}

PROSPECT_AMX inline void storeRounded(const float* sums, bfloat16* to, int64_t stride, int64_t rows, int64_t columns) {
  asm volatile("" : : : "memory");  // GCC does not know that storing a tile writes memory
  const __mmask32 mask = maskOf(columns);
  for (int64_t row = 0; row < rows; row++) {
    const auto both = (__m512i)_mm512_cvtne2ps_pbh(_mm512_load_ps(sums + row * kTwo + kTile), _mm512_load_ps(sums + row * kTwo));
    _mm512_mask_storeu_epi16(to + row * stride, mask, both);
  }
}

/// Where the product goes: rounded, or to float32 sums, which it may be added to; and whether it is its transpose that is computed.
struct Result {
  bfloat16* rounded;
  float* sums;
  int64_t stride;
  bool transposed;
  bool add = false;
};

/// Writes [rows, columns] of [32, 32] sums where they belong.
PROSPECT_AMX inline void put(const float* sums, const Result& c, int64_t row, int64_t column, int64_t rows, int64_t columns) {
  const int64_t first = row * c.stride + column;
  if (c.sums == nullptr) return storeRounded(sums, c.rounded + first, c.stride, rows, columns);
  asm volatile("" : : : "memory");  // GCC does not know that storing a tile writes memory
  for (int64_t i = 0; i < rows; i++) {
    for (int64_t half = 0; half < kTwo; half += kTile) {
      const auto mask = static_cast<__mmask16>(maskOf(columns - half));
      float* to = c.sums + first + i * c.stride + half;
      const __m512 value = _mm512_load_ps(sums + i * kTwo + half);
      _mm512_mask_storeu_ps(to, mask, c.add ? _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), value) : value);
    }
  }
}

/// sums [32, 32] become their transpose.
PROSPECT_AMX void transposeSums(float* sums) {
  asm volatile("" : : : "memory");  // GCC does not know that storing a tile writes memory
  const auto loaded = [&](__m512i* rows, float* from) __attribute__((target("avx512f"))) {
    for (int64_t i = 0; i < kTile; i++) rows[i] = _mm512_load_si512(from + i * kTwo);
  };
  const auto stored = [&](__m512i* rows, float* to) __attribute__((target("avx512f"))) {
    for (int64_t i = 0; i < kTile; i++) _mm512_store_si512(to + i * kTwo, rows[i]);
  };
  __m512i upper[16], lower[16];
  float *right = sums + kTile, *below = sums + kTile * kTwo;
  for (float* diagonal : {sums, below + kTile}) {
    loaded(upper, diagonal);
    transposePairs(upper);
    stored(upper, diagonal);
  }
  loaded(upper, right);
  loaded(lower, below);
  transposePairs(upper);
  transposePairs(lower);
  stored(upper, below);
  stored(lower, right);
}

/// Writes the sums of a block of 32 rows and a panel of B where they belong; with the product's transpose they are transposed.
PROSPECT_AMX void finish(float* sums, const Result& c, int64_t row, int64_t endRow, int64_t panel, int64_t columns) {
  const int64_t column = panel * kTwo, height = std::min(kTwo, endRow - row), width = std::min(kTwo, columns - column);
  if (!c.transposed) return put(sums, c, row, column, height, width);
  transposeSums(sums);
  put(sums, c, column, row, width, height);
}

/// What a task computes: rows of A by panels of B, which has `columns`.
struct Block {
  int64_t firstRow, endRow, firstPanel, endPanel;
};

/// A block in tiles. `tilesOf(row)`: the two tiles of A from that row on.
template <typename TilesOf>
PROSPECT_AMX void blockInTiles(const TilesOf& tilesOf, const bfloat16* panels, const Block& block, int64_t depth, int64_t columns, const Result& c) {
  alignas(64) float sums[kTwo * kTwo];
  const int64_t size = packedSize(depth);
  for (int64_t row = block.firstRow; row < block.endRow; row += kTwo) {
    const TwoTiles a = tilesOf(row);
    for (int64_t panel = block.firstPanel; panel < block.endPanel; panel++) {
      if (c.transposed && panel == block.firstPanel) multiplyFour<true>(a, panels + panel * size, depth, sums);
      else multiplyFour<false>(a, panels + panel * size, depth, sums);
      finish(sums, c, row, block.endRow, panel, columns);
    }
  }
}

/// A block without tiles, some of the depth after some, so that what is worked on stays in the second-level cache; A is packed there, 32 rows at a time.
PROSPECT_DOTS void blockInDots(const Operand& a, const bfloat16* panels, const Block& block, int64_t columns, const Result& c) {
  const int64_t depth = a.columns, size = packedSize(depth), width = block.endPanel - block.firstPanel;
  const auto sums = aligned<float>((block.endRow - block.firstRow + kTwo - 1) / kTwo * width * kTwo * kTwo);
  const auto rows = aligned<bfloat16>(packedSize(std::min(depth, kDotDepth)));
  for (int64_t k = 0; k < depth; k += kDotDepth) {
    const int64_t count = std::min(kDotDepth, depth - k), offset = k / kDepth * kPair;
    float* own = sums.get();
    for (int64_t row = block.firstRow; row < block.endRow; row += kTwo) {
      const int64_t height = std::min(kTwo, a.rows - row);
      if (a.transposed) packAcross(a.data + k * a.stride + row, a.stride, height, count, false, rows.get());
      else packAlong(a.data + row * a.stride + k, a.stride, height, count, false, rows.get());
      for (int64_t panel = block.firstPanel; panel < block.endPanel; panel++, own += kTwo * kTwo) {
        multiplyDots(rows.get(), panels + panel * size + offset, count, own, k > 0);
        if (k + count == depth) finish(own, c, row, block.endRow, panel, columns);
      }
    }
  }
}

Operand transposeOf(const Operand& x) { return {x.data, x.columns, x.rows, x.stride, !x.transposed}; }
Operand columnsOf(const Operand& x, int64_t first, int64_t count) { return {x.data + first * (x.transposed ? x.stride : 1), x.rows, count, x.stride, x.transposed}; }

}  // namespace

namespace {

bool ownWanted() {
  static const bool wanted = [] {
    const char* tiles = std::getenv("PROSPECT_TILES");  // for comparisons: off
    return multipliesBfloat16() && (tiles == nullptr || std::strcmp(tiles, "off") != 0);
  }();
  return wanted;
}

bool tilesWanted() { return hasTiles() && ownWanted(); }

bool large(int64_t rows, int64_t columns, int64_t depth) { return rows >= kTwo && columns >= kTwo && depth >= kDepth && rows * columns * depth >= 1 << 22; }

/// Whether C^T = B^T A^T packs less: A only, since B's columns are tiles as they lie. For weights and few tokens.
bool fewRows(const Operand& a, const Operand& b) {
  const int64_t few = b.rows * b.columns >= 1 << 25 ? kFewOfLarge : kFew;
  return b.transposed && a.columns % kDepth == 0 && a.rows <= few && a.rows < b.columns;
}

void multiplyPacked(const Operand& a, const Operand& b, const Result& c);

/// A product as deep as a vocabulary, slice by slice: packed whole, B's panels would fit no cache.
void multiplySlices(const Operand& a, const Operand& b, bfloat16* c) {
  const int64_t rows = a.rows, columns = b.columns, depth = a.columns;
  const auto sums = at::zeros({rows, columns}, at::kFloat);
  for (int64_t first = 0; first < depth; first += kSlice) {
    const int64_t count = std::min(kSlice, depth - first);
    multiplyPacked(columnsOf(a, first, count), transposeOf(columnsOf(transposeOf(b), first, count)), {nullptr, sums.data_ptr<float>(), columns, false, true});
  }
  at::from_blob(c, {rows, columns}, at::kBFloat16).copy_(sums);
}

}  // namespace

bool tilesPay(int64_t rows, int64_t columns, int64_t depth) {
  return tilesWanted() && large(rows, columns, depth);
}

bool packedSumsPay(int64_t rows, int64_t columns, int64_t depth) { return ownWanted() && depth > 0 && large(rows, columns, std::max(depth, kDepth)); }

bool weightTilesPay(int64_t rows, int64_t columns, int64_t depth) {
  return tilesWanted() && rows > 0 && rows <= kFew && rows < columns && columns >= kTwo && depth % kDepth == 0 && columns * depth >= 1 << 16;
}

void multiplyInTiles(const Operand& a, const Operand& b, bfloat16* c) {
  if (a.columns > 2 * kSlice) multiplySlices(a, b, c);
  else if (fewRows(a, b)) multiplyPacked(transposeOf(b), transposeOf(a), {c, nullptr, b.columns, true});
  else multiplyPacked(a, b, {c, nullptr, b.columns, false});
}

void multiplyIntoSums(const Operand& a, const Operand& b, float* c, bool add) {
  // Without tiles A is packed by each task, and B once: the smaller of the two is better for that.
  if (!hasTiles() && a.rows < b.columns) multiplyPacked(transposeOf(b), transposeOf(a), {nullptr, c, b.columns, true, add});
  else multiplyPacked(a, b, {nullptr, c, b.columns, false, add});
}

namespace {

/// Packs B, and of A what does not lie as tiles do.
void multiplyPacked(const Operand& a, const Operand& b, const Result& c) {
  const int64_t rows = a.rows, depth = a.columns, panels = (b.columns + kTwo - 1) / kTwo;
  const auto columnsOfB = packed(b, true);
  // Rows of A are tiles as they lie, where 32 of them, and 32 of the depth, are there at a time.
  const bool asItLies = hasTiles() && !a.transposed && depth % kDepth == 0;
  const int64_t whole = asItLies ? rows / kTwo * kTwo : hasTiles() ? 0 : rows;
  const Operand rest{a.transposed ? a.data : a.data + whole * a.stride, rows - whole, depth, a.stride, a.transposed};
  const auto rowsOfA = rest.rows > 0 ? packed(rest, false) : at::Tensor();
  const auto* packedRows = rest.rows > 0 ? rowsOfA.data_ptr<bfloat16>() : nullptr;
  const int64_t size = packedSize(depth);
  const auto tilesOf = [&](int64_t row) -> TwoTiles {
    if (row < whole) return {a.data + row * a.stride, a.data + (row + kTile) * a.stride, a.stride * 2, kDepth};
    const auto* own = packedRows + (row - whole) / kTwo * size;
    return {own, own + kPair / 2, 64, kPair};
  };
  const int64_t bytes = hasTiles() ? size * 2 : packedSize(std::min(depth, kDotDepth)) * 2;
  const int64_t most = std::max<int64_t>(1, (hasTiles() ? kBlockBytes : kDotBlockBytes) / bytes), blocks = (panels + most - 1) / most, width = (panels + blocks - 1) / blocks;
  const int64_t chunks = (rows + kChunk - 1) / kChunk, height = ((rows + chunks - 1) / chunks + kTwo - 1) / kTwo * kTwo;
  const auto* from = columnsOfB.data_ptr<bfloat16>();
  // Threads take tasks in turn, so that they work through the same block of B.
  const int64_t tasks = blocks * chunks;
  std::atomic<int64_t> next{0};
  at::parallel_for(0, std::min<int64_t>(at::get_num_threads(), tasks), 1, [&](int64_t begin, int64_t end) {
    if (begin == end) return;
    const TileScope tiles;
    for (int64_t task = next++; task < tasks; task = next++) {
      const int64_t panel = task / chunks * width, row = task % chunks * height;
      if (row >= rows) continue;
      const Block block{row, std::min(rows, row + height), panel, std::min(panels, panel + width)};
      if (hasTiles()) blockInTiles(tilesOf, from, block, depth, b.columns, c);
      else blockInDots(a, from, block, b.columns, c);
    }
  });
}

}  // namespace

#else

bool tilesPay(int64_t, int64_t, int64_t) { return false; }
bool weightTilesPay(int64_t, int64_t, int64_t) { return false; }
void multiplyInTiles(const Operand&, const Operand&, c10::BFloat16*) { TORCH_CHECK(false, "this processor has no tiles"); }
bool packedSumsPay(int64_t, int64_t, int64_t) { return false; }
void multiplyIntoSums(const Operand&, const Operand&, float*, bool) { TORCH_CHECK(false, "this processor has no bfloat16 products"); }

#endif

}  // namespace prospect
