#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "composed/composed.h"
#include "composed/numbers.h"
#include "composed/recent.h"
#include "kernels/kernels.h"

namespace prospect {
namespace composed {
namespace {

/// Rows that bring equally many tokens are computed together: all that are being extended by one token, and each that is being read.
struct Group {
  int64_t count;      // tokens of each row
  int64_t keys;       // tokens that the longest row holds, in whole pages
  at::Tensor tokens;  // int64 [rows x count]: which tokens of the pass
  at::Tensor pages;   // int64 [rows x pages]
  at::Tensor last;    // int64 [rows, count, 1]: the position of each token, up to which it sees
};

struct Places {
  at::Tensor page, offset;  // int64 [tokens]: where each token's keys go
  std::vector<Group> groups;
};

/// Consecutive tokens of one row, in rising order of position.
struct Run {
  int64_t first, count, row;
};

Group groupOf(const std::vector<Run>& runs, const int32_t* pages, int64_t width, const int32_t* positions, const c10::Device& device) {
  std::vector<int64_t> tokens, table, last;
  int64_t most = 0;
  for (const auto& run : runs) most = std::max<int64_t>(most, positions[run.first + run.count - 1] / cachePageTokens + 1);
  for (const auto& run : runs) {
    for (int64_t i = 0; i < run.count; i++) {
      tokens.push_back(run.first + i);
      last.push_back(positions[run.first + i]);
    }
    // A page that the row has not is beyond its last token, and hidden: any will do.
    for (int64_t page = 0; page < most; page++) table.push_back(std::max<int64_t>(0, pages[run.row * width + page]));
  }
  const auto count = runs.front().count;
  return {count, most * cachePageTokens, numbersOn<int64_t>(device, tokens), numbersOn<int64_t>(device, table), numbersOn<int64_t>(device, last).view({-1, count, 1})};
}

Places placesOf(const at::Tensor& pageTable, const at::Tensor& rowTable, const at::Tensor& positionTable, int64_t poolPages, const c10::Device& device) {
  const int32_t *pages = pageTable.data_ptr<int32_t>(), *rows = rowTable.data_ptr<int32_t>(), *positions = positionTable.data_ptr<int32_t>();
  const auto tokens = rowTable.numel(), width = pageTable.size(1);
  std::vector<int64_t> page, offset;
  std::vector<Run> runs;
  for (int64_t i = 0; i < pageTable.numel(); i++) TORCH_CHECK(pages[i] < poolPages, "page ", pages[i], " is beyond the pool of ", poolPages);
  for (int64_t token = 0; token < tokens; token++) {
    TORCH_CHECK(rows[token] >= 0 && rows[token] < pageTable.size(0) && positions[token] >= 0 && positions[token] < width * cachePageTokens, "token ", token,
                " has no place in the pages");
    for (int64_t used = 0; used <= positions[token] / cachePageTokens; used++)
      TORCH_CHECK(pages[rows[token] * width + used] >= 0, "token ", token, " reads page ", used, " of its row, which it has not");
    page.push_back(pages[rows[token] * width + positions[token] / cachePageTokens]);
    offset.push_back(positions[token] % cachePageTokens);
    const bool continues = token > 0 && rows[token] == rows[token - 1] && positions[token] == positions[token - 1] + 1;
    if (continues) runs.back().count++;
    else runs.push_back({token, 1, rows[token]});
  }
  Places places{numbersOn<int64_t>(device, page), numbersOn<int64_t>(device, offset), {}};
  std::vector<Run> single;
  for (const auto& run : runs) {
    if (run.count == 1) single.push_back(run);
    else places.groups.push_back(groupOf({run}, pages, width, positions, device));
  }
  if (!single.empty()) places.groups.push_back(groupOf(single, pages, width, positions, device));
  return places;
}

/// queries [rows, keyValueHeads, shared x count, size] over keys [rows, keyValueHeads, size, keys] and values [rows, keyValueHeads, keys, size].
at::Tensor attend(const Group& group, const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, double scale, int64_t window, double softCap) {
  auto scores = at::matmul(queries.to(at::kFloat), keys.to(at::kFloat)).mul_(scale);
  if (softCap > 0) scores.div_(softCap).tanh_().mul_(softCap);
  const auto rows = scores.size(0), heads = scores.size(1);
  const auto key = at::arange(group.keys, group.last.options());
  auto hidden = key.gt(group.last);
  if (window > 0) hidden = hidden.logical_or(key.le(group.last.sub(window)));
  scores.view({rows, heads, -1, group.count, group.keys}).masked_fill_(hidden.view({rows, 1, 1, group.count, group.keys}), -std::numeric_limits<double>::infinity());
  return at::matmul(scores.softmax(-1), values.to(at::kFloat)).to(values.scalar_type());
}

}  // namespace

at::Tensor pagedAttention(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const at::Tensor& keyPool, const at::Tensor& valuePool,
                          const at::Tensor& pages, const at::Tensor& rows, const at::Tensor& positions, double scale, int64_t window, double softCap) {
  TORCH_CHECK(pages.is_cpu() && rows.is_cpu() && positions.is_cpu(), "pages, rows and positions must be on the CPU");
  static auto& recent = *new Recent<Places>();
  const auto device = queries.device();
  const auto places = recent.get({pages, rows, positions}, device.str(), [&] { return placesOf(pages, rows, positions, keyPool.size(0), device); });
  const auto heads = keys.size(1), shared = queries.size(1) / heads, size = queries.size(2);
  const auto byToken = [](const at::Tensor& pool, at::IntArrayRef order) { return pool.permute(order); };
  const c10::List<c10::optional<at::Tensor>> at({c10::optional<at::Tensor>(places->page), c10::optional<at::Tensor>(places->offset)});
  byToken(keyPool, {0, 3, 1, 2}).index_put_(at, keys);
  byToken(valuePool.narrow(3, 0, size), {0, 2, 1, 3}).index_put_(at, values);
  const auto output = at::empty({queries.size(0), queries.size(1) * size}, queries.options());
  for (const auto& group : places->groups) {
    const auto count = group.tokens.numel() / group.count, most = group.keys / cachePageTokens;
    const auto own = queries.index_select(0, group.tokens).view({count, group.count, heads, shared, size}).permute({0, 2, 3, 1, 4});
    const auto seenKeys = keyPool.index_select(0, group.pages).view({count, most, heads, size, cachePageTokens}).permute({0, 2, 3, 1, 4});
    const auto seenValues = valuePool.index_select(0, group.pages).narrow(3, 0, size).reshape({count, most, heads, cachePageTokens, size}).permute({0, 2, 1, 3, 4});
    const auto mixed = attend(group, own.reshape({count, heads, shared * group.count, size}), seenKeys.reshape({count, heads, size, group.keys}),
                              seenValues.reshape({count, heads, group.keys, size}), scale, window, softCap);
    const auto byRow = mixed.view({count, heads, shared, group.count, size}).permute({0, 3, 1, 2, 4}).reshape({-1, queries.size(1) * size});
    output.index_copy_(0, group.tokens, byRow);
  }
  return output;
}

}  // namespace composed
}  // namespace prospect
