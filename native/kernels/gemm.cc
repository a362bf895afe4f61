#include "gemm.h"

#include <algorithm>
#include <cstring>

#include "simd.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace prospect {
namespace {

/// `kRows` rows of C by one panel, kept in registers over the depth.
template <int kRows>
PROSPECT_INLINE inline void rowsByPanel(const float* a, int64_t lda, const float* b, float* c, int64_t ldc, int64_t depth, bool add) {
  Floats sums[kRows][2];
  for (int i = 0; i < kRows; i++) {
    sums[i][0] = add ? load(c + i * ldc) : all(0);
    sums[i][1] = add ? load(c + i * ldc + kLanes) : all(0);
  }
  for (int64_t k = 0; k < depth; k++) {
    const Floats left = load(b + k * kPanel), right = load(b + k * kPanel + kLanes);
    for (int i = 0; i < kRows; i++) {
      const float scalar = a[i * lda + k];
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
PROSPECT_INLINE inline void panels(const float* a, int64_t lda, const float* b, float* c, int64_t ldc, int64_t rows, int64_t columns, int64_t depth,
                                   bool add) {
  for (int64_t column = 0; column < columns; column += kPanel) {
    const float* panel = b + column * depth;
    int64_t row = 0;
    for (; row + kRows <= rows; row += kRows) rowsByPanel<kRows>(a + row * lda, lda, panel, c + row * ldc + column, ldc, depth, add);
    for (; row < rows; row++) rowsByPanel<1>(a + row * lda, lda, panel, c + row * ldc + column, ldc, depth, add);
  }
}

#if defined(__x86_64__)

#define PROSPECT_DOT __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define PROSPECT_TILES __attribute__((target("avx512f,amx-tile,amx-bf16")))

template <int kRows>
PROSPECT_DOT inline void dotRows(const bfloat16* a, int64_t lda, const bfloat16* b, float* c, int64_t ldc, int64_t depth, bool add) {
  __m512 sums[kRows][2];
  for (int i = 0; i < kRows; i++) {
    sums[i][0] = add ? _mm512_loadu_ps(c + i * ldc) : _mm512_setzero_ps();
    sums[i][1] = add ? _mm512_loadu_ps(c + i * ldc + kLanes) : _mm512_setzero_ps();
  }
  for (int64_t k = 0; k < depth; k += 2) {
    const auto left = (__m512bh)_mm512_loadu_si512(b + k * kPanel), right = (__m512bh)_mm512_loadu_si512(b + k * kPanel + 2 * kLanes);
    for (int i = 0; i < kRows; i++) {
      int32_t pair;
      std::memcpy(&pair, a + i * lda + k, sizeof(pair));
      const auto scalar = (__m512bh)_mm512_set1_epi32(pair);
      sums[i][0] = _mm512_dpbf16_ps(sums[i][0], scalar, left);
      sums[i][1] = _mm512_dpbf16_ps(sums[i][1], scalar, right);
    }
  }
  for (int i = 0; i < kRows; i++) {
    _mm512_storeu_ps(c + i * ldc, sums[i][0]);
    _mm512_storeu_ps(c + i * ldc + kLanes, sums[i][1]);
  }
}

PROSPECT_DOT void multiplyByDots(const bfloat16* a, int64_t lda, const bfloat16* b, float* c, int64_t ldc, int64_t rows, int64_t columns, int64_t depth,
                                 bool add) {
  constexpr int kRows = 8;
  for (int64_t column = 0; column < columns; column += kPanel) {
    const bfloat16* panel = b + column * depth;
    int64_t row = 0;
    for (; row + kRows <= rows; row += kRows) dotRows<kRows>(a + row * lda, lda, panel, c + row * ldc + column, ldc, depth, add);
    for (; row < rows; row++) dotRows<1>(a + row * lda, lda, panel, c + row * ldc + column, ldc, depth, add);
  }
}

/// 32 rows by one panel, as four tiles of 16 x 16 sums.
PROSPECT_TILES inline void fourTiles(const bfloat16* a, int64_t lda, const bfloat16* b, float* c, int64_t ldc, int64_t depth, bool add) {
  const int64_t strideA = lda * 2, strideB = kPanel * 4, strideC = ldc * 4;
  if (add) {
    _tile_loadd(0, c, strideC);
    _tile_loadd(1, c + 16, strideC);
    _tile_loadd(2, c + 16 * ldc, strideC);
    _tile_loadd(3, c + 16 * ldc + 16, strideC);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t k = 0; k < depth; k += 32) {
    _tile_loadd(4, a + k, strideA);
    _tile_loadd(5, a + 16 * lda + k, strideA);
    _tile_loadd(6, b + k * kPanel, strideB);
    _tile_loadd(7, b + k * kPanel + 32, strideB);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, strideC);
  _tile_stored(1, c + 16, strideC);
  _tile_stored(2, c + 16 * ldc, strideC);
  _tile_stored(3, c + 16 * ldc + 16, strideC);
}

PROSPECT_TILES inline void twoTiles(const bfloat16* a, int64_t lda, const bfloat16* b, float* c, int64_t ldc, int64_t depth, bool add) {
  const int64_t strideA = lda * 2, strideB = kPanel * 4, strideC = ldc * 4;
  if (add) {
    _tile_loadd(0, c, strideC);
    _tile_loadd(1, c + 16, strideC);
  } else {
    _tile_zero(0);
    _tile_zero(1);
  }
  for (int64_t k = 0; k < depth; k += 32) {
    _tile_loadd(4, a + k, strideA);
    _tile_loadd(6, b + k * kPanel, strideB);
    _tile_loadd(7, b + k * kPanel + 32, strideB);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
  }
  _tile_stored(0, c, strideC);
  _tile_stored(1, c + 16, strideC);
}

PROSPECT_TILES void multiplyByTiles(const bfloat16* a, int64_t lda, const bfloat16* b, float* c, int64_t ldc, int64_t rows, int64_t columns, int64_t depth,
                                    bool add) {
  asm volatile("" : : : "memory");  // GCC does not know that loading a tile reads memory
  for (int64_t column = 0; column < columns; column += kPanel) {
    const bfloat16* panel = b + column * depth;
    int64_t row = 0;
    for (; row + 16 < rows; row += 32) fourTiles(a + row * lda, lda, panel, c + row * ldc + column, ldc, depth, add);
    if (row < rows) twoTiles(a + row * lda, lda, panel, c + row * ldc + column, ldc, depth, add);
  }
}

struct TileConfiguration {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytesPerRow[16] = {};
  uint8_t rows[16] = {};
};

PROSPECT_TILES void configureTiles() {
  TileConfiguration configuration;
  for (int i = 0; i < 8; i++) {
    configuration.bytesPerRow[i] = 64;
    configuration.rows[i] = 16;
  }
  asm volatile("" : : "r"(&configuration) : "memory");  // GCC's intrinsic declares only the first bytes as read
  _tile_loadconfig(&configuration);
}

PROSPECT_TILES void releaseTiles() { _tile_release(); }

bool bitOf(unsigned leaf, unsigned subleaf, int reg, int bit) {
  unsigned registers[4] = {};
  if (!__get_cpuid_count(leaf, subleaf, &registers[0], &registers[1], &registers[2], &registers[3])) return false;
  return (registers[reg] >> bit & 1) != 0;
}

bool hasDots() {
  static const bool has = isa() == Isa::Avx512 && bitOf(7, 1, 0, 5);
  return has;
}

#endif

}  // namespace

bool hasTiles() {
#if defined(__x86_64__)
  static const bool has = [] {
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    return hasDots() && bitOf(7, 0, 3, 22) && bitOf(7, 0, 3, 24) && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return has;
#else
  return false;
#endif
}

void multiply(const float* a, int64_t lda, const float* b, float* c, int64_t ldc, int64_t rows, int64_t columns, int64_t depth, bool add) {
#if defined(__x86_64__)
  if (isa() == Isa::Avx512) return runAvx512([&]() PROSPECT_INLINE { panels<8>(a, lda, b, c, ldc, rows, columns, depth, add); });
#endif
  vectorised([&]() PROSPECT_INLINE { panels<3>(a, lda, b, c, ldc, rows, columns, depth, add); });
}

bool multipliesBfloat16() {
#if defined(__x86_64__)
  return hasTiles() || hasDots();
#else
  return false;
#endif
}

void multiply(const bfloat16* a, int64_t lda, const bfloat16* b, float* c, int64_t ldc, int64_t rows, int64_t columns, int64_t depth, bool add) {
#if defined(__x86_64__)
  if (hasTiles()) return multiplyByTiles(a, lda, b, c, ldc, rows, columns, depth, add);
  if (hasDots()) return multiplyByDots(a, lda, b, c, ldc, rows, columns, depth, add);
#endif
  std::abort();  // multipliesBfloat16() said so
}

TileScope::TileScope() {
#if defined(__x86_64__)
  if (hasTiles()) configureTiles();
#endif
}

TileScope::~TileScope() {
#if defined(__x86_64__)
  if (hasTiles()) releaseTiles();
#endif
}

}  // namespace prospect
