#include "segments.h"

#include <c10/util/Exception.h>

#include <algorithm>

namespace prospect {

Segments::Segments(const at::Tensor& table, int64_t tokens, int64_t contextTokens) {
  TORCH_CHECK(table.dim() == 2 && table.size(1) == 4 && table.scalar_type() == at::kInt && table.is_contiguous(),
              "segments must be contiguous int32 [segments, 4]: start, length, parent, foreign");
  const int64_t count = table.size(0);
  const auto* rows = table.data_ptr<int32_t>();
  std::vector<int64_t> ends(static_cast<size_t>(count)), treeOf(static_cast<size_t>(count));
  children_.resize(static_cast<size_t>(count));
  int64_t covered = 0;
  std::vector<bool> taken(static_cast<size_t>(tokens));
  for (int64_t i = 0; i < count; i++) {
    const auto at = static_cast<size_t>(i);
    const Segment segment{rows[4 * i], rows[4 * i + 1], rows[4 * i + 2], rows[4 * i + 3] != 0};
    const int64_t limit = segment.foreign ? contextTokens : tokens;
    TORCH_CHECK(segment.start >= 0 && segment.length > 0 && segment.start + segment.length <= limit, "segment ", i, " (start ", segment.start, ", length ",
                segment.length, ") leaves its stream of ", limit, " tokens");
    TORCH_CHECK(segment.parent >= -1 && segment.parent < i, "segment ", i, " has parent ", segment.parent, ", which does not come before it");
    TORCH_CHECK(!segment.foreign || segment.parent == -1, "segment ", i, " lies in the context and has a parent");
    all_.push_back(segment);
    const auto parent = static_cast<size_t>(segment.parent);
    const bool isRoot = segment.parent < 0;
    ends[at] = segment.length + (isRoot ? 0 : ends[parent]);
    treeOf[at] = isRoot ? static_cast<int64_t>(trees_.size()) : treeOf[parent];
    if (isRoot) trees_.push_back({i, 0, 0});
    else children_[parent].push_back(i);
    auto& tree = trees_[static_cast<size_t>(treeOf[at])];
    tree.longest = std::max(tree.longest, ends[at]);
    if (segment.foreign) continue;
    for (int64_t token = segment.start; token < segment.start + segment.length; token++) {
      TORCH_CHECK(!taken[static_cast<size_t>(token)], "segment ", i, " covers token ", token, ", which another one covers");
      taken[static_cast<size_t>(token)] = true;
    }
    covered += segment.length;
    tree.cost += static_cast<double>(segment.length) * (static_cast<double>(ends[at]) - static_cast<double>(segment.length) / 2);
  }
  TORCH_CHECK(covered == tokens, "segments cover ", covered, " of ", tokens, " tokens");
  std::stable_sort(trees_.begin(), trees_.end(), [](const Tree& a, const Tree& b) { return a.cost > b.cost; });
}

}  // namespace prospect
