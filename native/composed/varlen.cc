#include "composed/varlen.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>

#include <cstdlib>
#include <limits>
#include <string>

#include "composed/named.h"

namespace prospect {
namespace composed {
namespace {

const NamedOperator& flash() {
  static const NamedOperator instance("aten::_flash_attention_forward");
  return instance;
}
const NamedOperator& flashBackward() {
  static const NamedOperator instance("aten::_flash_attention_backward");
  return instance;
}
const NamedOperator& efficient() {
  static const NamedOperator instance("aten::_efficient_attention_forward");
  return instance;
}
const NamedOperator& efficientBackward() {
  static const NamedOperator instance("aten::_efficient_attention_backward");
  return instance;
}

/// `arguments`, and after them `others`.
NamedOperator::Arguments joined(NamedOperator::Arguments arguments, const NamedOperator::Arguments& others) {
  arguments.insert(arguments.end(), others.begin(), others.end());
  return arguments;
}

// Flash

/// What forward and backward are both called with.
NamedOperator::Arguments flashArguments(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const Sequences& sequences,
                                        const Form& form) {
  const bool windowed = form.window > 0;
  return {{"query", queries},
          {"key", keys},
          {"value", values},
          {"cum_seq_q", sequences.queryOffsets},
          {"cum_seq_k", sequences.keyOffsets},
          {"max_q", sequences.mostQueries},
          {"max_k", sequences.mostKeys},
          {"dropout_p", 0.0},
          {"is_causal", true},  // the last query sees the last key, in each sequence
          {"scale", form.scale},
          {"window_size_left", windowed ? c10::IValue(form.window - 1) : c10::IValue()},
          {"window_size_right", windowed ? c10::IValue(int64_t{0}) : c10::IValue()}};
}

Attended attendFlash(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const Sequences& sequences, const Form& form) {
  const auto results = flash()(joined(flashArguments(queries, keys, values, sequences, form), {{"return_debug_mask", false}}));
  return {results[0].toTensor(), results[1].toTensor(), results[2].toTensor(), results[3].toTensor(), sequences.mostQueries, sequences.mostKeys};
}

Gradients flashGradients(const at::Tensor& upstream, const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const Attended& attended,
                         const Sequences& sequences, const Form& form) {
  const bool newer = flashBackward().takes("rng_state");  // libtorch called its random state otherwise before
  const auto results = flashBackward()(joined(flashArguments(queries, keys, values, sequences, form),
                                              {{"grad_out", upstream},
                                               {"out", attended.output},
                                               {"logsumexp", attended.logSums},
                                               {newer ? "rng_state" : "philox_seed", attended.first},
                                               {newer ? "unused" : "philox_offset", attended.second}}));
  return {results[0].toTensor(), results[1].toTensor(), results[2].toTensor()};
}

// Memory-efficient: one batch, and as many key-value heads as heads

constexpr int64_t kLastKeyToLastQuery = 2;  // CausalFromBottomRight of libtorch's kernel

at::Tensor forEachHead(const at::Tensor& x, int64_t heads) {
  return x.unsqueeze(2).expand({x.size(0), x.size(1), heads / x.size(1), x.size(2)}).reshape({1, x.size(0), heads, x.size(2)});
}

at::Tensor summedOverHeads(const at::Tensor& gradient, const at::Tensor& x) {
  const auto heads = gradient.size(2);
  return heads == x.size(1) ? gradient.squeeze(0) : gradient.reshape({x.size(0), x.size(1), heads / x.size(1), x.size(2)}).sum(2);
}

/// What forward and backward are both called with; `mostQueries` and `mostKeys` as each wants them.
NamedOperator::Arguments efficientArguments(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const Sequences& sequences,
                                            const Form& form, int64_t mostQueries, int64_t mostKeys) {
  const auto heads = queries.size(1);
  return {{"query", queries.unsqueeze(0)},
          {"key", forEachHead(keys, heads)},
          {"value", forEachHead(values, heads)},
          {"cu_seqlens_q", sequences.queryOffsets},
          {"cu_seqlens_k", sequences.keyOffsets},
          {"max_seqlen_q", mostQueries},
          {"max_seqlen_k", mostKeys},
          {"dropout_p", 0.0},
          {"custom_mask_type", kLastKeyToLastQuery},
          {"scale", form.scale}};
}

Attended attendEfficient(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const Sequences& sequences, const Form& form) {
  const auto shared = efficientArguments(queries, keys, values, sequences, form, sequences.mostQueries, sequences.mostKeys);
  const auto results = efficient()(joined(shared, {{"compute_log_sumexp", true}}));
  return {results[0].toTensor().squeeze(0), results[1].toTensor(), results[2].toTensor(), results[3].toTensor(), results[4].toInt(), results[5].toInt()};
}

Gradients efficientGradients(const at::Tensor& upstream, const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                             const Attended& attended, const Sequences& sequences, const Form& form) {
  const auto shared = efficientArguments(queries, keys, values, sequences, form, attended.mostQueries, attended.mostKeys);
  const auto results = efficientBackward()(joined(shared, {{"grad_out_", upstream.unsqueeze(0)},
                                                           {"out", attended.output.unsqueeze(0)},
                                                           {"logsumexp", attended.logSums},
                                                           {"philox_seed", attended.first},
                                                           {"philox_offset", attended.second},
                                                           {"bias_requires_grad", false}}));
  return {results[0].toTensor().squeeze(0), summedOverHeads(results[1].toTensor(), keys), summedOverHeads(results[2].toTensor(), values)};
}

// Plain

/// One sequence: queries [keyValueHeads, shared x queries, size] and keys [keyValueHeads, keys, size] in float32, heads that share keys side by side.
struct Sequence {
  at::Tensor queries, keys, values;
  int64_t begin, count, heads, shared, size;

  at::Tensor grouped(const at::Tensor& x) const {
    return x.narrow(0, begin, count).to(at::kFloat).view({count, heads, shared, size}).permute({1, 2, 0, 3}).reshape({heads, shared * count, size});
  }
  at::Tensor ungrouped(const at::Tensor& x) const {
    return x.view({heads, shared, count, size}).permute({2, 0, 1, 3}).reshape({count, heads * shared, size});
  }
};

Sequence sequenceAt(size_t i, const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const Sequences& sequences) {
  const auto begin = sequences.queryStarts[i], count = sequences.queryStarts[i + 1] - begin;
  const auto first = sequences.keyStarts[i], length = sequences.keyStarts[i + 1] - first;
  Sequence result{{}, {}, {}, begin, count, keys.size(1), queries.size(1) / keys.size(1), queries.size(2)};
  result.queries = result.grouped(queries);
  result.keys = keys.narrow(0, first, length).to(at::kFloat).transpose(0, 1);
  result.values = values.narrow(0, first, length).to(at::kFloat).transpose(0, 1);
  return result;
}

/// Which keys a query does not see, bool [queries, keys].
at::Tensor hiddenKeys(int64_t queries, int64_t keys, int64_t window, const at::TensorOptions& options) {
  const auto last = at::arange(keys - queries, keys, options.dtype(at::kLong)).unsqueeze(1);
  const auto key = at::arange(keys, options.dtype(at::kLong));
  const auto later = key.gt(last);
  return window > 0 ? later.logical_or(key.le(last.sub(window))) : later;
}

/// Scores [keyValueHeads, shared x queries, keys], hidden ones -inf; and, with a cap, what it was bent from, over the cap.
std::pair<at::Tensor, at::Tensor> scoresOf(const Sequence& sequence, const Form& form) {
  auto scores = at::matmul(sequence.queries, sequence.keys.transpose(1, 2)).mul_(form.scale);
  at::Tensor bent;
  if (form.softCap > 0) {
    bent = scores.div_(form.softCap).tanh_();
    scores = bent.mul(form.softCap);
  }
  const auto keys = sequence.keys.size(1);
  const auto hidden = hiddenKeys(sequence.count, keys, form.window, scores.options());
  scores.view({sequence.heads, sequence.shared, sequence.count, keys}).masked_fill_(hidden, -std::numeric_limits<double>::infinity());
  return {scores, bent};
}

Attended attendPlain(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const Sequences& sequences, const Form& form) {
  Attended result{at::empty(queries.sizes(), queries.options()), at::empty({queries.size(0), queries.size(1), 1}, queries.options().dtype(at::kFloat)), {}, {},
                  sequences.mostQueries, sequences.mostKeys};
  for (size_t i = 0; i + 1 < sequences.queryStarts.size(); i++) {
    const auto sequence = sequenceAt(i, queries, keys, values, sequences);
    auto scores = scoresOf(sequence, form).first;
    const auto sums = scores.logsumexp({2}, true);
    const auto mixed = at::matmul(scores.sub_(sums).exp_(), sequence.values);
    result.output.narrow(0, sequence.begin, sequence.count).copy_(sequence.ungrouped(mixed));
    const auto byHead = sums.view({sequence.heads, sequence.shared, sequence.count, 1}).permute({2, 0, 1, 3}).reshape({sequence.count, -1, 1});
    result.logSums.narrow(0, sequence.begin, sequence.count).copy_(byHead);
  }
  return result;
}

Gradients plainGradients(const at::Tensor& upstream, const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const Attended& attended,
                         const Sequences& sequences, const Form& form) {
  Gradients result{at::empty(queries.sizes(), queries.options()), at::empty(keys.sizes(), keys.options()), at::empty(values.sizes(), values.options())};
  for (size_t i = 0; i + 1 < sequences.queryStarts.size(); i++) {
    const auto sequence = sequenceAt(i, queries, keys, values, sequences);
    auto [scores, bent] = scoresOf(sequence, form);
    const auto sums = attended.logSums.narrow(0, sequence.begin, sequence.count)
                          .view({sequence.count, sequence.heads, sequence.shared, 1})
                          .permute({1, 2, 0, 3})
                          .reshape({sequence.heads, sequence.shared * sequence.count, 1});
    const auto weights = scores.sub_(sums).exp_();
    const auto up = sequence.grouped(upstream), output = sequence.grouped(attended.output);
    const auto first = sequences.keyStarts[i], length = sequences.keyStarts[i + 1] - first;
    result.values.narrow(0, first, length).copy_(at::matmul(weights.transpose(1, 2), up).transpose(0, 1));
    // d score = weight (d weight - sum over keys of weight d weight), and that sum is the product of output and its gradient.
    auto ofScores = at::matmul(up, sequence.values.transpose(1, 2)).sub_(up.mul(output).sum(-1, true)).mul_(weights);
    if (bent.defined()) ofScores.mul_(bent.square_().neg_().add_(1));
    ofScores.mul_(form.scale);
    result.queries.narrow(0, sequence.begin, sequence.count).copy_(sequence.ungrouped(at::matmul(ofScores, sequence.keys)));
    result.keys.narrow(0, first, length).copy_(at::matmul(ofScores.transpose(1, 2), sequence.queries).transpose(0, 1));
  }
  return result;
}

}  // namespace

Way wayFor(const at::Tensor& queries, const Form& form) {
  const auto size = queries.size(2);
  const char* wanted = std::getenv("PROSPECT_ATTENTION");  // for comparisons: the first that is allowed
  const auto allowed = [&](const char* name) { return wanted == nullptr || std::string(wanted) == name; };
  if (!queries.is_cuda() || form.softCap > 0) return Way::Plain;
  if (allowed("flash") && queries.scalar_type() == at::kBFloat16 && size % 8 == 0 && size <= 256 && flash().runsOn(queries) &&
      (form.window == 0 || flash().takes("window_size_left")))
    return Way::Flash;
  if (allowed("efficient") && form.window == 0 && size % 8 == 0 && efficient().runsOn(queries)) return Way::Efficient;
  return Way::Plain;
}

Attended attend(Way way, const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values, const Sequences& sequences, const Form& form) {
  switch (way) {
    case Way::Flash: return attendFlash(queries, keys, values, sequences, form);
    case Way::Efficient: return attendEfficient(queries, keys, values, sequences, form);
    default: return attendPlain(queries, keys, values, sequences, form);
  }
}

Gradients attendBackward(Way way, const at::Tensor& upstream, const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                         const Attended& attended, const Sequences& sequences, const Form& form) {
  switch (way) {
    case Way::Flash: return flashGradients(upstream, queries, keys, values, attended, sequences, form);
    case Way::Efficient: return efficientGradients(upstream, queries, keys, values, attended, sequences, form);
    default: return plainGradients(upstream, queries, keys, values, attended, sequences, form);
  }
}

}  // namespace composed
}  // namespace prospect
