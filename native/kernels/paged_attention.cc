#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

#include "vectors.h"

namespace prospect {
namespace {

constexpr int64_t vectorsOfPage = cachePageTokens / width;
constexpr float never = -1e30f;  // a masked score: finite, so that no infinity is subtracted from another

template <typename Value>
struct Cache {
  Value* keys;    // [pages, heads, headSize, cachePageTokens]: the keys of a page stand side by side, so scores need no sum across a register
  Value* values;  // [pages, heads, cachePageTokens, padded]
  int64_t heads, headSize, padded;

  Value* keysOf(int64_t page, int64_t head) const { return keys + (page * heads + head) * headSize * cachePageTokens; }
  Value* valuesOf(int64_t page, int64_t head) const { return values + (page * heads + head) * cachePageTokens * padded; }
};

/// Consecutive tokens of one row.
struct Tile {
  int64_t first, count;
  const int32_t* pages;
};

/// One thread's numbers for the queries of a tile under one key-value head: [queries, headSize], [queries, padded], [queries].
struct Scratch {
  std::vector<float> queries, sums, peaks, totals;
  std::vector<int64_t> positions;
};

struct Form {
  float scale, softCap;
  int64_t window;
};

/// Scores of `count` queries with the keys of one page, [count, cachePageTokens].
template <int count, typename Value>
PROSPECT_INLINE void scoresOf(float (*scores)[cachePageTokens], const float* queries, const Value* keys, int64_t headSize) {
  Floats sums[count][vectorsOfPage] = {};
  for (int64_t j = 0; j < headSize; j++) {
    Floats key[vectorsOfPage];
    for (int64_t v = 0; v < vectorsOfPage; v++) load(key[v], keys + j * cachePageTokens + v * width);
    for (int q = 0; q < count; q++)
      for (int64_t v = 0; v < vectorsOfPage; v++) sums[q][v] += key[v] * queries[q * headSize + j];
  }
  std::memcpy(scores, sums, sizeof sums);
}

/// Adds the values of one page, weighted, to the running sums of `count` queries.
template <int count, typename Value>
PROSPECT_INLINE void addValues(float* sums, const float (*weights)[cachePageTokens], const float* shrink, const Value* values, int64_t padded, int64_t tokens) {
  for (int64_t at = 0; at < padded; at += width) {
    Floats sum[count];
    for (int q = 0; q < count; q++) {
      load(sum[q], sums + q * padded + at);
      sum[q] *= shrink[q];
    }
    for (int64_t k = 0; k < tokens; k++) {
      Floats value;
      load(value, values + k * padded + at);
      for (int q = 0; q < count; q++) sum[q] += value * weights[q][k];
    }
    for (int q = 0; q < count; q++) std::memcpy(sums + q * padded + at, &sum[q], sizeof sum[q]);
  }
}

/// Softmax over one page more, for one query: leaves the weights in `scores` and gives what the sums before it shrink by.
PROSPECT_INLINE float weigh(float* scores, int64_t base, int64_t position, const Form& form, float& peak, float& total) {
  Floats score[vectorsOfPage];
  const Ints lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const auto seen = static_cast<int32_t>(position - base);  // lanes up to this one are not later than the query
  const auto hidden = static_cast<int32_t>(form.window > 0 ? std::max<int64_t>(-1, position - form.window - base) : -1);
  float most = peak;
  for (int64_t v = 0; v < vectorsOfPage; v++) {
    load(score[v], scores + v * width);
    if (form.softCap > 0) {  // c tanh(s / c), tanh(x) = sign(x) (1 - e) / (1 + e) with e = exp(-2 |x|)
      const Floats x = score[v] * (1 / form.softCap);
      Floats e = (x < 0 ? x : -x) * 2.0f;
      exponential(e);
      const Floats size = (1.0f - e) / (1.0f + e) * form.softCap;
      score[v] = x < 0 ? -size : size;
    }
    const Ints at = lane + static_cast<int32_t>(v * width);
    score[v] = (at > seen) | (at <= hidden) ? Floats{} + never : score[v];
    for (int64_t i = 0; i < width; i++) most = std::max(most, score[v][i]);
  }
  const float shrink = std::exp(peak - most);
  Floats sums = {};
  for (int64_t v = 0; v < vectorsOfPage; v++) {
    Floats weight = score[v] - most;
    exponential(weight);
    weight = score[v] == never ? Floats{} : weight;
    sums += weight;
    std::memcpy(scores + v * width, &weight, sizeof weight);
  }
  float sum = 0;
  for (int64_t i = 0; i < width; i++) sum += sums[i];
  total = total * shrink + sum;
  peak = most;
  return shrink;
}

template <int count, typename Value>
PROSPECT_INLINE void attendPage(Scratch& scratch, int64_t query, int64_t base, const Value* keys, const Value* values, const Cache<Value>& cache, const Form& form) {
  float scores[count][cachePageTokens];
  float shrink[count];
  scoresOf<count>(scores, scratch.queries.data() + query * cache.headSize, keys, cache.headSize);
  int64_t tokens = 0;
  for (int q = 0; q < count; q++) {
    shrink[q] = weigh(scores[q], base, scratch.positions[query + q], form, scratch.peaks[query + q], scratch.totals[query + q]);
    tokens = std::max(tokens, std::min(cachePageTokens, scratch.positions[query + q] - base + 1));
  }
  addValues<count>(scratch.sums.data() + query * cache.padded, scores, shrink, values, cache.padded, tokens);
}

/// A page is read once for all queries of the tile, a few at a time: as many as registers hold.
template <typename Value>
PROSPECT_INLINE void attendPages(Scratch& scratch, const Tile& tile, int64_t queries, int64_t head, const Cache<Value>& cache, const Form& form) {
  const int64_t last = scratch.positions[queries - 1];
  const int64_t first = form.window > 0 ? std::max<int64_t>(0, scratch.positions[0] - form.window + 1) : 0;
  for (int64_t page = first / cachePageTokens; page <= last / cachePageTokens; page++) {
    const int64_t base = page * cachePageTokens;
    const Value* keys = cache.keysOf(tile.pages[page], head);
    const Value* values = cache.valuesOf(tile.pages[page], head);
    int64_t query = 0;
    while (query < queries && scratch.positions[query] < base) query++;  // these end before the page
    for (; queries - query >= 8; query += 8) attendPage<8>(scratch, query, base, keys, values, cache, form);
    for (; queries - query >= 4; query += 4) attendPage<4>(scratch, query, base, keys, values, cache, form);
    switch (queries - query) {
      case 3: attendPage<3>(scratch, query, base, keys, values, cache, form); break;
      case 2: attendPage<2>(scratch, query, base, keys, values, cache, form); break;
      case 1: attendPage<1>(scratch, query, base, keys, values, cache, form); break;
    }
  }
}

PROSPECT_CLONES void attendTile(Scratch& scratch, const Tile& tile, int64_t queries, int64_t head, const Cache<float>& cache, const Form& form) {
  attendPages(scratch, tile, queries, head, cache, form);
}
PROSPECT_CLONES void attendTile(Scratch& scratch, const Tile& tile, int64_t queries, int64_t head, const Cache<at::BFloat16>& cache, const Form& form) {
  attendPages(scratch, tile, queries, head, cache, form);
}

struct Inputs {
  const at::Tensor &queries, &keys, &values, &pages;
  const int32_t *rows, *positions;
  int64_t tokens, heads, shared;
};

template <typename Value>
void store(const Cache<Value>& cache, const Inputs& in) {
  const Value *keys = in.keys.data_ptr<Value>(), *values = in.values.data_ptr<Value>();
  const int32_t* pages = in.pages.data_ptr<int32_t>();
  at::parallel_for(0, in.tokens, 64, [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; token++) {
      const int64_t page = pages[in.rows[token] * in.pages.size(1) + in.positions[token] / cachePageTokens];
      const int64_t offset = in.positions[token] % cachePageTokens;
      for (int64_t head = 0; head < cache.heads; head++) {
        const int64_t from = (token * cache.heads + head) * cache.headSize;
        Value* keyColumn = cache.keysOf(page, head) + offset;
        for (int64_t j = 0; j < cache.headSize; j++) keyColumn[j * cachePageTokens] = keys[from + j];
        std::memcpy(cache.valuesOf(page, head) + offset * cache.padded, values + from, cache.headSize * sizeof(Value));
      }
    }
  });
}

/// Cuts the tokens into tiles: consecutive tokens of one row, in rising order of position, at most `most` of them.
std::vector<Tile> tilesOf(const Inputs& in, int64_t most) {
  std::vector<Tile> tiles;
  const int32_t* pages = in.pages.data_ptr<int32_t>();
  for (int64_t token = 0; token < in.tokens; token++) {
    const bool continues = !tiles.empty() && tiles.back().count < most && in.rows[token] == in.rows[token - 1] && in.positions[token] == in.positions[token - 1] + 1;
    if (continues) tiles.back().count++;
    else tiles.push_back({token, 1, pages + in.rows[token] * in.pages.size(1)});
  }
  return tiles;
}

template <typename Value>
void attendOne(Value* output, Scratch& scratch, const Tile& tile, int64_t head, const Cache<Value>& cache, const Inputs& in, const Form& form) {
  const int64_t queries = tile.count * in.shared, size = cache.headSize;
  scratch.queries.resize(queries * size);
  scratch.positions.resize(queries);
  scratch.sums.assign(queries * cache.padded, 0.0f);
  scratch.peaks.assign(queries, never);
  scratch.totals.assign(queries, 0.0f);
  const Value* given = in.queries.data_ptr<Value>();
  const auto place = [&](int64_t q) { return ((tile.first + q / in.shared) * in.heads + head * in.shared + q % in.shared) * size; };
  for (int64_t q = 0; q < queries; q++) {
    scratch.positions[q] = in.positions[tile.first + q / in.shared];
    for (int64_t j = 0; j < size; j++) scratch.queries[q * size + j] = static_cast<float>(given[place(q) + j]) * form.scale;
  }
  attendTile(scratch, tile, queries, head, cache, form);
  for (int64_t q = 0; q < queries; q++)
    for (int64_t j = 0; j < size; j++) output[place(q) + j] = static_cast<Value>(scratch.sums[q * cache.padded + j] / scratch.totals[q]);
}

template <typename Value>
void attendAll(const at::Tensor& output, const at::Tensor& keyPool, const at::Tensor& valuePool, const Inputs& in, const Form& form) {
  const Cache<Value> cache = {keyPool.data_ptr<Value>(), valuePool.data_ptr<Value>(), keyPool.size(1), keyPool.size(2), valuePool.size(3)};
  store(cache, in);
  const auto tiles = tilesOf(in, std::max<int64_t>(1, 32 / in.shared));
  const auto tasks = static_cast<int64_t>(tiles.size()) * cache.heads;
  std::atomic<int64_t> next{0};  // rows differ in length, so threads take the next task when they are free
  at::parallel_for(0, std::min<int64_t>(at::get_num_threads(), tasks), 1, [&](int64_t, int64_t) {
    Scratch scratch;
    for (int64_t task = next++; task < tasks; task = next++)
      attendOne(output.data_ptr<Value>(), scratch, tiles[task / cache.heads], task % cache.heads, cache, in, form);
  });
}

void check(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const at::Tensor& keyPool, const at::Tensor& valuePool, const at::Tensor& pages,
           const at::Tensor& rows, const at::Tensor& positions) {
  TORCH_CHECK(queries.dim() == 3 && keys.dim() == 3 && values.sizes() == keys.sizes() && keys.size(0) == queries.size(0) && keys.size(2) == queries.size(2),
              "paged_attention_ takes queries [tokens, heads, size], keys and values [tokens, keyValueHeads, size], got ", queries.sizes(), ", ", keys.sizes(), ", ", values.sizes());
  TORCH_CHECK(queries.size(1) % keys.size(1) == 0, "heads must be a multiple of key-value heads, got ", queries.size(1), " and ", keys.size(1));
  TORCH_CHECK(keyPool.dim() == 4 && keyPool.size(1) == keys.size(1) && keyPool.size(2) == keys.size(2) && keyPool.size(3) == cachePageTokens,
              "the key pool must be [pages, keyValueHeads, size, ", cachePageTokens, "], got ", keyPool.sizes());
  TORCH_CHECK(valuePool.dim() == 4 && valuePool.size(0) == keyPool.size(0) && valuePool.size(1) == keys.size(1) && valuePool.size(2) == cachePageTokens &&
                  valuePool.size(3) == (keys.size(2) + width - 1) / width * width,
              "the value pool must be [pages, keyValueHeads, ", cachePageTokens, ", size rounded up to ", width, "], got ", valuePool.sizes());
  for (const auto& tensor : {queries, keys, values, keyPool, valuePool})
    TORCH_CHECK(tensor.is_contiguous() && tensor.device().is_cpu() && tensor.scalar_type() == queries.scalar_type(), "paged_attention_ takes contiguous tensors of one dtype on the CPU");
  for (const auto& tensor : {pages, rows, positions})
    TORCH_CHECK(tensor.is_contiguous() && tensor.device().is_cpu() && tensor.scalar_type() == at::kInt, "pages, rows and positions must be contiguous int32 on the CPU");
  TORCH_CHECK(pages.dim() == 2 && rows.numel() == queries.size(0) && positions.numel() == queries.size(0), "a row and a position is needed for each token");
  const int32_t *page = pages.data_ptr<int32_t>(), *row = rows.data_ptr<int32_t>(), *position = positions.data_ptr<int32_t>();
  for (int64_t i = 0; i < pages.numel(); i++) TORCH_CHECK(page[i] < keyPool.size(0), "page ", page[i], " is beyond the pool of ", keyPool.size(0));
  for (int64_t i = 0; i < rows.numel(); i++) {
    TORCH_CHECK(row[i] >= 0 && row[i] < pages.size(0) && position[i] >= 0 && position[i] < pages.size(1) * cachePageTokens, "token ", i, " has no place in the pages");
    for (int64_t used = 0; used <= position[i] / cachePageTokens; used++)
      TORCH_CHECK(page[row[i] * pages.size(1) + used] >= 0, "token ", i, " reads page ", used, " of its row, which it has not");
  }
}

}  // namespace

at::Tensor pagedAttention(const at::Tensor& givenQueries, const at::Tensor& givenKeys, const at::Tensor& givenValues, const at::Tensor& keyPool, const at::Tensor& valuePool,
                          const at::Tensor& pages, const at::Tensor& rows, const at::Tensor& positions, double scale, int64_t window, double softCap) {
  const auto queries = givenQueries.contiguous(), keys = givenKeys.contiguous(), values = givenValues.contiguous();
  check(queries, keys, values, keyPool, valuePool, pages, rows, positions);
  const auto output = at::empty({queries.size(0), queries.size(1) * queries.size(2)}, queries.options());
  const Inputs in = {queries, keys, values, pages, rows.data_ptr<int32_t>(), positions.data_ptr<int32_t>(), queries.size(0), queries.size(1), queries.size(1) / keys.size(1)};
  const Form form = {static_cast<float>(scale), static_cast<float>(softCap), window};
  if (queries.scalar_type() == at::kFloat) attendAll<float>(output, keyPool, valuePool, in, form);
  else if (queries.scalar_type() == at::kBFloat16) attendAll<at::BFloat16>(output, keyPool, valuePool, in, form);
  else TORCH_CHECK(false, "paged_attention_ computes in float32 or bfloat16, got ", queries.scalar_type());
  return output;
}

}  // namespace prospect
