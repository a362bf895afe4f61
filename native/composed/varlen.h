// Attention of sequences of unequal lengths that lie one after the other: what each way to compute it takes and gives.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace prospect {
namespace composed {

/// Sequence i has the queries from queryStarts[i] to queryStarts[i + 1], and sees the keys from keyStarts[i] to keyStarts[i + 1], of which the last ones
/// are its queries' own: query q of n sees all but the last n - 1 - q keys, or the last `window` of these.
struct Sequences {
  std::vector<int64_t> queryStarts, keyStarts;
  int64_t mostQueries = 0, mostKeys = 0;
  at::Tensor queryOffsets, keyOffsets;  // the starts, int32 on the device
};

struct Form {
  double scale;
  int64_t window;   // 0: all
  double softCap;   // 0: none
};

/// What a forward pass leaves for its backward pass beside the output: log sums, and what libtorch's kernels ask to be given back.
struct Attended {
  at::Tensor output;  // [queries, heads, size]
  at::Tensor logSums;
  at::Tensor first, second;        // random state, which is not used
  int64_t mostQueries, mostKeys;  // as the kernel rounded them
};

struct Gradients {
  at::Tensor queries, keys, values;
};

/// How attention is computed: FlashAttention (arXiv 2307.08691) and memory-efficient attention (arXiv 2112.05682) as libtorch has them, or plain
/// products with all scores of a sequence in memory, which run everywhere.
enum class Way { Flash, Efficient, Plain };

/// The first of them that can compute this on the device.
Way wayFor(const at::Tensor& queries, const Form& form);

/// queries [queries, heads, size], keys and values [keys, keyValueHeads, size].
Attended attend(Way way, const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const Sequences& sequences, const Form& form);
Gradients attendBackward(Way way, const at::Tensor& upstream, const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                         const Attended& attended, const Sequences& sequences, const Form& form);

}  // namespace composed
}  // namespace prospect
