// Attention over the segments of a packed stream. Scores are computed transposed, keys by queries, for a block of queries and all keys that it
// sees, so that the softmax's sums run along rows and sixteen queries share an instruction.
#include "attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>

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

/// One thread's work on one tree and key-value head after another, with buffers for the longest chain of all.
template <typename T, typename E>
class Forward {
 public:
  Forward(const Call<T>& call, int64_t longest, T* output, float* logSums) : call_(call), output_(output), logSums_(logSums) {
    depth_ = sizeof(E) == 4 ? call.size : roundUp(call.size, kPanel);
    length_ = roundUp(longest, kPanel) + kPanel;
    const int64_t rows = roundUp(call.size, kPanel);
    auto& memory = scratch();
    memory.reserve(Scratch::bytesOf<E>(length_ * depth_) + Scratch::bytesOf<E>(rows * length_) + Scratch::bytesOf<E>(depth_ * kBlock) +
                   Scratch::bytesOf<float>(length_ * kBlock) + Scratch::bytesOf<E>(length_ * kBlock) + Scratch::bytesOf<float>(rows * kBlock));
    keys_ = memory.take<E>(length_ * depth_);
    values_ = memory.take<E>(rows * length_);
    queries_ = memory.take<E>(depth_ * kBlock);
    scores_ = memory.take<float>(length_ * kBlock);
    weights_ = memory.take<E>(length_ * kBlock);
    mixed_ = memory.take<float>(rows * kBlock);
  }

  void walk(int64_t index, int64_t before, int64_t group) {
    const auto& segment = call_.segments.all()[static_cast<size_t>(index)];
    const auto& in = call_.inputs;
    const auto& keys = segment.foreign ? in.contextKeys : in.keys;
    const auto& values = segment.foreign ? in.contextValues : in.values;
    vectorised([&]() PROSPECT_INLINE {
      copyRows(call_.rowsOf(keys, segment.start, group), keys.stride, segment.length, call_.size, keys_ + before * depth_, depth_);
      copyTransposed(call_.rowsOf(values, segment.start, group), values.stride, segment.length, call_.size, values_ + before, length_);
      clearTail(values_, call_.size, length_, before + segment.length);
    });
    if (!segment.foreign) {
      for (int64_t head = group * call_.shared; head < (group + 1) * call_.shared; head++)
        for (int64_t first = 0; first < segment.length; first += kBlock) attend(segment, head, blockAt(first, segment.length, before, call_.window));
    }
    for (int64_t child : call_.segments.childrenOf(index)) walk(child, before + segment.length, group);
  }

 private:
  void attend(const Segment& segment, int64_t head, const Block& block) {
    const auto& in = call_.inputs;
    const int64_t token = segment.start + block.first, depth = block.depth();
    vectorised([&]() PROSPECT_INLINE {
      packTransposed(call_.rowsOf(in.queries, token, head), in.queries.stride, block.count, call_.size, queries_, depth_, block.columns);
    });
    multiply(keys_ + block.low * depth_, depth_, queries_, scores_, block.columns, block.keys(), block.columns, depth_, false);
    float inverses[kBlock], logSums[kBlock];
    vectorised([&]() PROSPECT_INLINE {
      for (int64_t column = 0; column < block.columns; column += kLanes) softmax(block, column, depth, inverses, logSums);
    });
    multiply(values_ + block.low, length_, weights_, mixed_, block.columns, call_.size, block.columns, depth, false);
    const int64_t stride = call_.heads * call_.size;
    storeTransposed(mixed_, block, call_.size, inverses, output_ + token * stride + head * call_.size, stride);
    if (logSums_ != nullptr) std::copy(logSums, logSums + block.count, logSums_ + head * call_.tokens + token);
  }

  /// exp(score - most) of sixteen queries, packed; the sum divides later.
  PROSPECT_INLINE void softmax(const Block& block, int64_t column, int64_t depth, float* inverses, float* logSums) {
    const int64_t seen = seenFrom(block, column);
    Floats most = all(-std::numeric_limits<float>::infinity());
    for (int64_t key = 0; key < seen; key++) {
      float* at = scores_ + key * block.columns + column;
      const Floats score = scored<T>(load(at), call_, block, block.low + key, column, nullptr);
      store(at, score);
      most = larger(score, most);
    }
    Floats total = all(0);
    for (int64_t key = 0; key < depth; key += 2) {
      const float* at = scores_ + key * block.columns + column;
      const Floats even = key < seen ? exponential(load(at) - most) : all(0);
      const Floats odd = key + 1 < seen ? exponential(load(at + block.columns) - most) : all(0);
      total += even + odd;
      storePacked(weights_, key, column, depth, even, odd);
    }
    store(inverses + column, 1.0f / total);
    for (int i = 0; i < kLanes; i++) logSums[column + i] = most[i] + std::log(total[i]);
  }

  const Call<T>& call_;
  T* output_;
  float* logSums_;
  int64_t depth_, length_;
  E *keys_, *values_, *queries_, *weights_;
  float *scores_, *mixed_;
};

template <typename T, typename E>
class Backward {
 public:
  Backward(const Call<T>& call, int64_t longest, const T* output, const float* logSums, const T* upstream, T* ofQueries, T* ofKeys, T* ofValues)
      : call_(call), output_(output), logSums_(logSums), upstream_(upstream), ofQueries_(ofQueries), ofKeys_(ofKeys), ofValues_(ofValues) {
    depth_ = sizeof(E) == 4 ? call.size : roundUp(call.size, kPanel);
    width_ = roundUp(call.size, kPanel);
    length_ = roundUp(longest, kPanel) + kPanel;
    const auto chain = Scratch::bytesOf<E>(length_ * depth_), block = Scratch::bytesOf<E>(depth_ * kBlock), wide = Scratch::bytesOf<E>(width_ * kBlock);
    auto& memory = scratch();
    memory.reserve(2 * chain + Scratch::bytesOf<E>(width_ * length_) + 2 * Scratch::bytesOf<float>(length_ * width_) + 2 * block + 2 * wide +
                   2 * Scratch::bytesOf<float>(length_ * kBlock) + 3 * Scratch::bytesOf<E>(length_ * kBlock) + Scratch::bytesOf<float>(width_ * kBlock));
    keys_ = memory.take<E>(length_ * depth_);
    values_ = memory.take<E>(length_ * depth_);
    keysTransposed_ = memory.take<E>(width_ * length_);
    keySums_ = memory.take<float>(length_ * width_);
    valueSums_ = memory.take<float>(length_ * width_);
    queries_ = memory.take<E>(depth_ * kBlock);
    upstreams_ = memory.take<E>(depth_ * kBlock);
    queryRows_ = memory.take<E>(width_ * kBlock);
    upstreamRows_ = memory.take<E>(width_ * kBlock);
    scores_ = memory.take<float>(length_ * kBlock);
    products_ = memory.take<float>(length_ * kBlock);
    weights_ = memory.take<E>(length_ * kBlock);
    slopes_ = memory.take<E>(length_ * kBlock);
    slopesPacked_ = memory.take<E>(length_ * kBlock);
    querySums_ = memory.take<float>(width_ * kBlock);
  }

  /// A parent's gradients are complete once all of its children have been walked.
  void walk(int64_t index, int64_t before, int64_t group) {
    const auto& segment = call_.segments.all()[static_cast<size_t>(index)];
    enter(segment, before, group);
    for (int64_t head = group * call_.shared; head < (group + 1) * call_.shared; head++)
      for (int64_t first = 0; first < segment.length; first += kBlock) attend(segment, head, blockAt(first, segment.length, before, call_.window));
    for (int64_t child : call_.segments.childrenOf(index)) walk(child, before + segment.length, group);
    leave(segment, before, group);
  }

 private:
  void enter(const Segment& segment, int64_t before, int64_t group) {
    const auto& in = call_.inputs;
    vectorised([&]() PROSPECT_INLINE {
      copyRows(call_.rowsOf(in.keys, segment.start, group), in.keys.stride, segment.length, call_.size, keys_ + before * depth_, depth_);
      copyRows(call_.rowsOf(in.values, segment.start, group), in.values.stride, segment.length, call_.size, values_ + before * depth_, depth_);
      copyTransposed(call_.rowsOf(in.keys, segment.start, group), in.keys.stride, segment.length, call_.size, keysTransposed_ + before, length_);
      clearTail(keysTransposed_, call_.size, length_, before + segment.length);
    });
    std::fill(keySums_ + before * width_, keySums_ + (before + segment.length) * width_, 0.0f);
    std::fill(valueSums_ + before * width_, valueSums_ + (before + segment.length) * width_, 0.0f);
  }

  void leave(const Segment& segment, int64_t before, int64_t group) {
    vectorised([&]() PROSPECT_INLINE {
      for (int64_t i = 0; i < segment.length; i++) {
        const int64_t to = (segment.start + i) * call_.groups * call_.size + group * call_.size, from = (before + i) * width_;
        eachSixteen(call_.size, [&](int64_t k, int64_t count) PROSPECT_INLINE {
          storeUpTo(ofKeys_ + to + k, load(keySums_ + from + k), count);
          storeUpTo(ofValues_ + to + k, load(valueSums_ + from + k), count);
        });
      }
    });
  }

  void attend(const Segment& segment, int64_t head, const Block& block) {
    const auto& in = call_.inputs;
    const int64_t token = segment.start + block.first, depth = block.depth(), stride = call_.heads * call_.size;
    const T* queries = call_.rowsOf(in.queries, token, head);
    const T* upstream = upstream_ + token * stride + head * call_.size;
    alignas(64) float logSums[kBlock], dots[kBlock] = {};
    std::fill(logSums, logSums + kBlock, std::numeric_limits<float>::infinity());  // columns beyond the block weigh nothing
    std::copy(logSums_ + head * call_.tokens + token, logSums_ + head * call_.tokens + token + block.count, logSums);
    vectorised([&]() PROSPECT_INLINE {
      packTransposed(queries, in.queries.stride, block.count, call_.size, queries_, depth_, block.columns);
      packTransposed(upstream, stride, block.count, call_.size, upstreams_, depth_, block.columns);
      packRows(queries, in.queries.stride, block.count, call_.size, queryRows_, block.columns, width_);
      packRows(upstream, stride, block.count, call_.size, upstreamRows_, block.columns, width_);
      for (int64_t i = 0; i < block.count; i++) {
        const T *up = upstream + i * stride, *out = output_ + (token + i) * stride + head * call_.size;
        Floats products = all(0);
        eachSixteen(call_.size, [&](int64_t k, int64_t count) PROSPECT_INLINE { products += loadUpTo(up + k, count) * loadUpTo(out + k, count); });
        dots[i] = sum(products);
      }
    });
    multiply(keys_ + block.low * depth_, depth_, queries_, scores_, block.columns, block.keys(), block.columns, depth_, false);
    multiply(values_ + block.low * depth_, depth_, upstreams_, products_, block.columns, block.keys(), block.columns, depth_, false);
    vectorised([&]() PROSPECT_INLINE {
      for (int64_t column = 0; column < block.columns; column += kLanes) slopes(block, column, depth, load(logSums + column), load(dots + column));
    });
    multiply(weights_, block.columns, upstreamRows_, valueSums_ + block.low * width_, width_, block.keys(), width_, block.columns, true);
    multiply(slopes_, block.columns, queryRows_, keySums_ + block.low * width_, width_, block.keys(), width_, block.columns, true);
    multiply(keysTransposed_ + block.low, length_, slopesPacked_, querySums_, block.columns, call_.size, block.columns, depth, false);
    storeTransposed(querySums_, block, call_.size, nullptr, ofQueries_ + token * stride + head * call_.size, stride);
  }

  /// weights P = exp(score - logSum) and slopes dS = P (dP - rowsum(dO O)) scale, as A (rows of keys) and the slopes as packed B as well.
  PROSPECT_INLINE void slopes(const Block& block, int64_t column, int64_t depth, const Floats& logSum, const Floats& dot) {
    const int64_t seen = seenFrom(block, column);
    for (int64_t key = 0; key < depth; key += 2) {
      Floats both[2] = {all(0), all(0)};
      for (int64_t k = key; k < key + 2; k++) {
        const int64_t at = k * block.columns + column;
        Floats weight = all(0);
        if (k < seen) {
          Floats slope = all(1);
          weight = exponential(scored<T>(load(scores_ + at), call_, block, block.low + k, column, &slope) - logSum);
          both[k - key] = weight * (load(products_ + at) - dot) * slope * call_.scale;
        }
        store(weights_ + at, weight);
        store(slopes_ + at, both[k - key]);
      }
      storePacked(slopesPacked_, key, column, depth, both[0], both[1]);
    }
  }

  const Call<T>& call_;
  const T* output_;
  const float* logSums_;
  const T* upstream_;
  T *ofQueries_, *ofKeys_, *ofValues_;
  int64_t depth_, width_, length_;
  E *keys_, *values_, *keysTransposed_, *queries_, *upstreams_, *queryRows_, *upstreamRows_, *weights_, *slopes_, *slopesPacked_;
  float *keySums_, *valueSums_, *scores_, *products_, *querySums_;
};

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

void attentionForward(const AttentionInputs& inputs, const Segments& segments, const AttentionOptions& options, const at::Tensor& output,
                      const at::Tensor& logSums) {
  withTypes(output.scalar_type(), [&](auto type, auto product) {
    using T = decltype(type);
    using E = decltype(product);
    const Call<T> call(inputs, segments, options);
    auto* to = output.data_ptr<T>();
    auto* sums = logSums.defined() ? logSums.data_ptr<float>() : nullptr;
    forEachTree(segments, call.groups, [&](int64_t longest) { return Forward<T, E>(call, longest, to, sums); });
  });
}

void attentionBackward(const AttentionInputs& inputs, const Segments& segments, const AttentionOptions& options, const at::Tensor& output,
                       const at::Tensor& logSums, const at::Tensor& upstream, const at::Tensor& ofQueries, const at::Tensor& ofKeys,
                       const at::Tensor& ofValues) {
  withTypes(output.scalar_type(), [&](auto type, auto product) {
    using T = decltype(type);
    using E = decltype(product);
    const Call<T> call(inputs, segments, options);
    const T *out = output.data_ptr<T>(), *up = upstream.data_ptr<T>();
    const auto* sums = logSums.data_ptr<float>();
    T *queries = ofQueries.data_ptr<T>(), *keys = ofKeys.data_ptr<T>(), *values = ofValues.data_ptr<T>();
    forEachTree(segments, call.groups, [&](int64_t longest) { return Backward<T, E>(call, longest, out, sums, up, queries, keys, values); });
  });
}

}  // namespace prospect
