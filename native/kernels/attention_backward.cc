#include "attention_blocks.h"

namespace prospect {
namespace {

/// The same for gradients, whose sums over keys and values live in float32 until a segment is left.
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

}  // namespace

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
