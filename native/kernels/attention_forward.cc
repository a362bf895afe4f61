#include "attention_blocks.h"

namespace prospect {
namespace {

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

}  // namespace prospect
