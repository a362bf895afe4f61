// The prefix tree of a packed stream, as attention walks it.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace prospect {

struct Segment {
  int64_t start, length;
  int64_t parent;  // -1: none
  bool foreign;    // lies in the context stream: it has keys and values, and asks nothing
};

/// A root with everything below it. Trees share no keys, so they are computed independently.
struct Tree {
  int64_t root;
  int64_t longest;  // tokens from the root to the end of its longest chain
  double cost;      // pairs of query and key
};

class Segments {
 public:
  /// int32 [segments, 4]: start, length, parent (an earlier segment, or -1), foreign. Throws where they leave the streams.
  Segments(const at::Tensor& table, int64_t tokens, int64_t contextTokens);

  const std::vector<Segment>& all() const { return all_; }
  const std::vector<int64_t>& childrenOf(int64_t segment) const { return children_[static_cast<size_t>(segment)]; }
  /// The costliest first, so that threads end together.
  const std::vector<Tree>& trees() const { return trees_; }

 private:
  std::vector<Segment> all_;
  std::vector<std::vector<int64_t>> children_;
  std::vector<Tree> trees_;
};

}  // namespace prospect
