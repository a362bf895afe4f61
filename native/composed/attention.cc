#include <ATen/ops/_unsafe_view.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "composed/composed.h"
#include "composed/numbers.h"
#include "composed/recent.h"
#include "composed/varlen.h"
#include "kernels/dispatch.h"
#include "kernels/segments.h"

namespace prospect {
namespace composed {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Segments as sequences: each segment is one, whose keys are those of its ancestors and its own. So a prompt's keys stand once for each of its
/// completions; they are copied (keys are small where heads share them), and the products are those that sharing needs too.
struct Layout {
  Sequences sequences;
  at::Tensor sources;  // int64 [keys]: which key of [context; stream] each is; undefined where they are the stream's own, in order
};

Layout layoutOf(const at::Tensor& table, int64_t tokens, int64_t contextTokens, const c10::Device& device) {
  const Segments segments(table, tokens, contextTokens);
  const auto& all = segments.all();
  std::vector<size_t> order;
  for (size_t i = 0; i < all.size(); i++)
    if (!all[i].foreign) order.push_back(i);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return all[a].start < all[b].start; });
  Layout layout;
  auto& [queryStarts, keyStarts, mostQueries, mostKeys, queryOffsets, keyOffsets] = layout.sequences;
  queryStarts = keyStarts = {0};
  std::vector<int64_t> sources;
  bool inOrder = contextTokens == 0;
  for (const auto index : order) {
    TORCH_CHECK(all[index].start == queryStarts.back(), "segments overlap: one ends at token ", queryStarts.back(), ", the next starts at ", all[index].start);
    std::vector<Segment> chain;
    for (auto at = static_cast<int64_t>(index); at >= 0; at = all[static_cast<size_t>(at)].parent) chain.push_back(all[static_cast<size_t>(at)]);
    for (auto segment = chain.rbegin(); segment != chain.rend(); ++segment)
      for (int64_t i = 0; i < segment->length; i++) sources.push_back(segment->start + i + (segment->foreign ? 0 : contextTokens));
    inOrder = inOrder && chain.size() == 1;
    queryStarts.push_back(queryStarts.back() + all[index].length);
    keyStarts.push_back(static_cast<int64_t>(sources.size()));
    mostQueries = std::max(mostQueries, all[index].length);
    mostKeys = std::max(mostKeys, keyStarts.back() - keyStarts[keyStarts.size() - 2]);
  }
  queryOffsets = numbersOn<int32_t>(device, queryStarts);
  keyOffsets = numbersOn<int32_t>(device, keyStarts);
  if (!inOrder) layout.sources = numbersOn<int64_t>(device, sources);
  return layout;
}

std::shared_ptr<const Layout> layoutFor(const at::Tensor& table, int64_t tokens, int64_t contextTokens, const c10::Device& device) {
  static auto& recent = *new Recent<Layout>();
  return recent.get({table}, device.str() + " " + std::to_string(tokens) + " " + std::to_string(contextTokens),
                    [&] { return layoutOf(table, tokens, contextTokens, device); });
}

at::Tensor gathered(const at::Tensor& x, const Layout& layout) { return layout.sources.defined() ? x.index_select(0, layout.sources) : x.contiguous(); }

/// The gradient of what was gathered, added up in float32.
at::Tensor scattered(const at::Tensor& gradient, const Layout& layout, const at::Tensor& like) {
  if (!layout.sources.defined()) return gradient;
  auto sums = at::zeros(like.sizes(), like.options().dtype(at::kFloat));
  return sums.index_add_(0, layout.sources, gradient.to(at::kFloat)).to(like.scalar_type());
}

struct SegmentAttention : torch::autograd::Function<SegmentAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const at::Tensor& segments,
                            double scale, int64_t window, double softCap) {
    const Form form{scale, window, softCap};
    const auto layout = layoutFor(segments, queries.size(0), 0, queries.device());
    const auto dense = queries.contiguous();
    const auto attended = attend(wayFor(dense, form), dense, gathered(keys, *layout), gathered(values, *layout), layout->sequences, form);
    context->save_for_backward({dense, keys, values, segments, attended.output, attended.logSums, attended.first, attended.second});
    context->saved_data["scale"] = scale;
    context->saved_data["window"] = window;
    context->saved_data["soft_cap"] = softCap;
    context->saved_data["most_queries"] = attended.mostQueries;
    context->saved_data["most_keys"] = attended.mostKeys;
    return at::_unsafe_view(attended.output, {queries.size(0), -1});  // no view: autograd would follow it to what is saved
  }

  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const auto saved = context->get_saved_variables();
    const auto &queries = saved[0], &keys = saved[1], &values = saved[2], &segments = saved[3];
    auto& data = context->saved_data;
    const Form form{data["scale"].toDouble(), data["window"].toInt(), data["soft_cap"].toDouble()};
    const Attended attended{saved[4], saved[5], saved[6], saved[7], data["most_queries"].toInt(), data["most_keys"].toInt()};
    const auto layout = layoutFor(segments, queries.size(0), 0, queries.device());
    const auto upstream = outputs[0].contiguous().view(queries.sizes());
    const auto gradients = attendBackward(wayFor(queries, form), upstream, queries, gathered(keys, *layout), gathered(values, *layout), attended,
                                          layout->sequences, form);
    return {gradients.queries, scattered(gradients.keys, *layout, keys), scattered(gradients.values, *layout, values), at::Tensor(), at::Tensor(),
            at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor segmentAttention(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const at::Tensor& segments, double scale,
                            int64_t window, double softCap, const c10::optional<at::Tensor>& contextKeys, const c10::optional<at::Tensor>& contextValues) {
  TORCH_CHECK(segments.is_cpu(), "the table of segments must be on the CPU");
  const bool context = contextKeys.has_value() && contextKeys->defined();
  if (!context && needsGradient({queries, keys, values})) return SegmentAttention::apply(queries, keys, values, segments, scale, window, softCap);
  TORCH_CHECK(!needsGradient({queries, keys, values}), "attention to a context has no gradient: call it without recording");
  const Form form{scale, window, softCap};
  const auto layout = layoutFor(segments, queries.size(0), context ? contextKeys->size(0) : 0, queries.device());
  const auto seenKeys = context ? at::cat({*contextKeys, keys}) : keys, seenValues = context ? at::cat({*contextValues, values}) : values;
  const auto dense = queries.contiguous();
  return attend(wayFor(dense, form), dense, gathered(seenKeys, *layout), gathered(seenValues, *layout), layout->sequences, form).output.flatten(1);
}

}  // namespace composed
}  // namespace prospect
