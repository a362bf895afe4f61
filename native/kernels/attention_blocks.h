// What attention's forward and backward share. Scores are computed transposed, keys by queries, for a block of queries and all keys that it
// sees, so that the softmax's sums run along rows and sixteen queries share an instruction.
#pragma once
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>

#include "attention.h"
#include "dispatch.h"
#include "gemm.h"
#include "pack.h"
#include "simd.h"

namespace prospect {
namespace {

constexpr int64_t kBlock = 64;  // queries at a time

/// Memory of one thread that is kept from call to call. Zeroed where it is taken, once a call: padding must be finite.
class Scratch {
 public:
  void reserve(size_t bytes) {
    bytes = (bytes + 4095) / 4096 * 4096;
    if (bytes > size_) {
      memory_.reset(static_cast<char*>(std::aligned_alloc(4096, bytes)));
      size_ = memory_ ? bytes : 0;
      TORCH_CHECK(memory_, "out of memory: attention needs ", bytes, " bytes a thread");
    }
    used_ = 0;
  }
  template <typename T>
  T* take(int64_t count) {
    T* result = reinterpret_cast<T*>(memory_.get() + used_);
    used_ += bytesOf<T>(count);
    std::memset(static_cast<void*>(result), 0, static_cast<size_t>(count) * sizeof(T));
    return result;
  }
  template <typename T>
  static size_t bytesOf(int64_t count) {
    return (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
  }

 private:
  struct Free {
    void operator()(char* memory) const { std::free(memory); }
  };
  std::unique_ptr<char, Free> memory_;
  size_t size_ = 0, used_ = 0;
};

Scratch& scratch() {
  static thread_local Scratch instance;
  return instance;
}

/// What all blocks of one call share.
template <typename T>
struct Call {
  const AttentionInputs& inputs;
  const Segments& segments;
  float scale, softCap;
  int64_t window;
  int64_t tokens, heads, groups, shared, size;

  Call(const AttentionInputs& in, const Segments& all, const AttentionOptions& options)
      : inputs(in),
        segments(all),
        scale(static_cast<float>(options.scale)),
        softCap(static_cast<float>(options.softCap)),
        window(options.window),
        tokens(in.queries.tensor.size(0)),
        heads(in.queries.heads),
        groups(in.keys.heads),
        shared(in.queries.heads / in.keys.heads),
        size(in.queries.size) {}

  const T* rowsOf(const HeadsView& view, int64_t token, int64_t head) const {
    return view.tensor.data_ptr<T>() + token * view.stride + head * view.size;
  }
};

/// Queries `first` to `first + count` of a segment that starts at `before` in its chain, and the keys of the chain that they see.
struct Block {
  int64_t first, count, columns;  // columns: count, rounded up
  int64_t position;               // of the first query in the chain
  int64_t low, high;              // keys, low a multiple of 32
  int64_t keys() const { return high - low; }
  int64_t depth() const { return roundUp(keys(), kPanel); }
};

Block blockAt(int64_t first, int64_t length, int64_t before, int64_t window) {
  Block block;
  block.first = first;
  block.count = std::min(kBlock, length - first);
  block.columns = roundUp(block.count, kPanel);
  block.position = before + first;
  block.high = block.position + block.count;
  block.low = window > 0 ? std::max<int64_t>(0, block.position - window + 1) / kPanel * kPanel : 0;
  return block;
}

/// Keys of a block, from its lowest, that any of the sixteen queries from `column` on may see.
inline int64_t seenFrom(const Block& block, int64_t column) { return std::min(block.keys(), block.position + column + kLanes - block.low); }

/// A row of scores, key `key`, queries `column` to `column + 15`: scaled, capped, and -infinity where the query does not see the key.
/// `slope`, where asked for, is the derivative of the cap.
template <typename T>
PROSPECT_INLINE inline Floats scored(Floats score, const Call<T>& call, const Block& block, int64_t key, int64_t column, Floats* slope) {
  score *= call.scale;
  if (call.softCap > 0) {
    const Floats tangent = hyperbolicTangent(score / call.softCap);
    score = tangent * call.softCap;
    if (slope != nullptr) *slope = 1.0f - tangent * tangent;
  }
  const int64_t query = block.position + column;  // of the first lane
  const bool sees = key <= query && (call.window == 0 || key > query + kLanes - 1 - call.window);
  if (sees) return score;
  const Ints lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const Ints distance = lanes + static_cast<int32_t>(query - key);
  const int32_t window = call.window > 0 ? static_cast<int32_t>(std::min<int64_t>(call.window, INT32_MAX)) : INT32_MAX;
  const Floats nothing = all(-std::numeric_limits<float>::infinity());
  return (distance >= 0) & (distance < window) ? score : nothing;
}

/// Puts two rows (keys 2k, 2k + 1) of 16 columns into a packed B.
PROSPECT_INLINE inline void storePacked(float* to, int64_t key, int64_t column, int64_t depth, const Floats& even, const Floats& odd) {
  float* target = to + column / kPanel * kPanel * depth + key * kPanel + column % kPanel;
  store(target, even);
  store(target + kPanel, odd);
}
PROSPECT_INLINE inline void storePacked(bfloat16* to, int64_t key, int64_t column, int64_t depth, const Floats& even, const Floats& odd) {
  storePairs(to + column / kPanel * kPanel * depth + key * kPanel + 2 * (column % kPanel), even, odd);
}

/// to[i][k] = sums[k][i], times factors[i] where there are any: a block's results, by query.
template <typename T>
void storeTransposed(const float* sums, const Block& block, int64_t size, const float* factors, T* to, int64_t stride) {
  vectorised([&]() PROSPECT_INLINE {
    for (int64_t first = 0; first < block.count; first += kLanes) {
      const Floats factor = factors == nullptr ? all(1) : load(factors + first);
      const int64_t count = std::min(kLanes, block.count - first);
      int64_t k = 0;
      for (; transposesFast() && k + kLanes <= size; k += kLanes) {
        Floats rows[kLanes];
        for (int64_t i = 0; i < kLanes; i++) rows[i] = load(sums + (k + i) * block.columns + first) * factor;
        transpose(rows);
        for (int64_t i = 0; i < count; i++) store(to + (first + i) * stride + k, rows[i]);
      }
      for (; k < size; k++)
        for (int64_t i = 0; i < count; i++) to[(first + i) * stride + k] = static_cast<T>(sums[k * block.columns + first + i] * factor[i]);
    }
  });
}

/// Zeros from `end`, where a chain's columns end for now, to the next multiple of a panel: what an earlier chain left there may be NaN.
template <typename E>
PROSPECT_INLINE inline void clearTail(E* rows, int64_t count, int64_t stride, int64_t end) {
  for (int64_t row = 0; row < count; row++) std::fill(rows + row * stride + end, rows + row * stride + roundUp(end, kPanel), E(0.0f));
}

/// Walks all trees for all key-value heads, each thread with one worker of its own, taking the next when it is free.
template <typename MakeWorker>
void forEachTree(const Segments& segments, int64_t groups, const MakeWorker& makeWorker) {
  const auto& trees = segments.trees();
  int64_t longest = 0;
  for (const auto& tree : trees) longest = std::max(longest, tree.longest);
  const int64_t total = static_cast<int64_t>(trees.size()) * groups;
  std::atomic<int64_t> next{0};
  at::parallel_for(0, std::min<int64_t>(at::get_num_threads(), total), 1, [&](int64_t begin, int64_t end) {
    if (begin == end) return;
    const TileScope tiles;
    auto worker = makeWorker(longest);
    for (int64_t task = next++; task < total; task = next++) worker.walk(trees[static_cast<size_t>(task / groups)].root, 0, task % groups);
  });
}

/// Calls `body` with the tensors' type and the type that products are computed in.
template <typename Body>
void withTypes(at::ScalarType type, const Body& body) {
  if (type == at::kFloat) return body(float{}, float{});
  TORCH_CHECK(type == at::kBFloat16, "expected float32 or bfloat16, got ", c10::toString(type));
  if (multipliesBfloat16()) body(bfloat16{}, bfloat16{});
  else body(bfloat16{}, float{});
}

}  // namespace
}  // namespace prospect
