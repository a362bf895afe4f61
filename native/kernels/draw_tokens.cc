#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "vectors.h"

namespace prospect {
namespace {

struct Settings {
  double temperature, topP, minP, penalty;
  int64_t topK;
};

/// weights[i] = exp((scores[i] - most) scale) and their sum, over whole vectors; the caller pads.
PROSPECT_CLONES double exponentials(float* weights, const float* scores, int64_t count, float most, float scale) {
  Floats sums = {};
  double total = 0;
  for (int64_t at = 0; at < count; at += width) {
    Floats x;
    load(x, scores + at);
    x = (x - most) * scale;
    const auto vanished = x < -86.0f;
    exponential(x);
    x = vanished ? Floats{} : x;
    std::memcpy(weights + at, &x, sizeof x);
    sums += x;
    if (at % (64 * width) == 0 || at + width >= count) {  // float32 sums of many small numbers would lose them
      for (int64_t i = 0; i < width; i++) total += sums[i];
      sums = Floats{};
    }
  }
  return total;
}

/// The weight of the `count`-th heaviest.
float heaviest(std::vector<float>& scratch, const float* weights, int64_t size, int64_t count) {
  scratch.assign(weights, weights + size);
  std::nth_element(scratch.begin(), scratch.begin() + (count - 1), scratch.end(), std::greater<float>());
  return scratch[count - 1];
}

/// The weight of the last of the fewest, heaviest first and none below `floor`, that hold `share` of what is not below it. Weights are in [0, 1]: their bits
/// rise with them, so a histogram over the upper bits finds the few among which it lies, and only these are sorted.
float nucleusEdge(std::vector<float>& scratch, const float* weights, int64_t size, float floor, double share) {
  constexpr int shift = 19;
  std::vector<double> mass(size_t{1} << (31 - shift), 0.0);
  const auto bucketOf = [](float weight) {
    uint32_t bits;
    std::memcpy(&bits, &weight, sizeof bits);
    return bits >> shift;
  };
  double total = 0;
  for (int64_t i = 0; i < size; i++)
    if (weights[i] >= floor) {
      mass[bucketOf(weights[i])] += weights[i];
      total += weights[i];
    }
  double held = 0;
  size_t bucket = bucketOf(1.0f);
  for (; bucket > 0 && held + mass[bucket] < share * total; bucket--) held += mass[bucket];
  scratch.clear();
  for (int64_t i = 0; i < size; i++)
    if (weights[i] >= floor && bucketOf(weights[i]) == bucket) scratch.push_back(weights[i]);
  if (scratch.empty()) return floor;
  std::sort(scratch.begin(), scratch.end(), std::greater<float>());
  for (const float weight : scratch) {
    held += weight;
    if (held >= share * total) return weight;
  }
  return scratch.back();
}

/// The first index at which the running total of the weights not below `floor` exceeds `share` of the whole.
int64_t inverted(const float* weights, int64_t size, float floor, double share) {
  double total = 0;
  for (int64_t i = 0; i < size; i++)
    if (weights[i] >= floor) total += weights[i];
  const double point = share * total;
  double held = 0;
  int64_t last = 0;
  for (int64_t i = 0; i < size; i++) {
    if (weights[i] < floor || weights[i] == 0) continue;
    held += weights[i];
    last = i;
    if (held > point) return i;
  }
  return last;  // rounding: the share is just below 1
}

struct Drawer {
  const Settings& settings;
  std::vector<float> scores, weights, scratch;

  int64_t draw(const float* logits, int64_t size, const int32_t* seen, const int32_t* seenEnd, double share, float& logp) {
    const int64_t padded = (size + width - 1) / width * width;
    scores.resize(padded, -std::numeric_limits<float>::infinity());
    weights.resize(padded);
    std::copy(logits, logits + size, scores.begin());
    const float most = *std::max_element(logits, logits + size);
    const double normaliser = most + std::log(exponentials(weights.data(), scores.data(), padded, most, 1));
    TORCH_CHECK(std::isfinite(normaliser) && std::all_of(logits, logits + size, [](float x) { return std::isfinite(x); }),
                "the model gives logits that are NaN or infinite: its weights are damaged, or its training diverged");
    if (settings.penalty != 1) penalise(seen, seenEnd, size);
    const int64_t token = settings.temperature > 0 ? sampled(size, padded, share) : std::max_element(scores.begin(), scores.begin() + size) - scores.begin();
    logp = static_cast<float>(logits[token] - normaliser);
    return token;
  }

  void penalise(const int32_t* seen, const int32_t* seenEnd, int64_t size) {
    const auto penalty = static_cast<float>(settings.penalty);
    scratch.clear();
    for (const int32_t* token = seen; token < seenEnd; token++) {  // each once, however often it was seen
      TORCH_CHECK(*token >= 0 && *token < size, "token ", *token, " is not in the vocabulary of ", size);
      float& score = scores[*token];
      if (std::find(seen, token, *token) == token) score = score > 0 ? score / penalty : score * penalty;
    }
  }

  int64_t sampled(int64_t size, int64_t padded, double share) {
    const float most = *std::max_element(scores.begin(), scores.begin() + size);
    exponentials(weights.data(), scores.data(), padded, most, static_cast<float>(1 / std::max(settings.temperature, 1e-6)));
    float floor = 0;
    if (settings.topK > 0 && settings.topK < size) floor = heaviest(scratch, weights.data(), size, settings.topK);
    if (settings.topP < 1) floor = std::max(floor, nucleusEdge(scratch, weights.data(), size, floor, settings.topP));
    floor = std::max(floor, static_cast<float>(settings.minP));  // the likeliest has weight 1
    return inverted(weights.data(), size, floor, share);
  }
};

}  // namespace

std::tuple<at::Tensor, at::Tensor> drawTokens(const at::Tensor& givenLogits, const at::Tensor& shares, const at::Tensor& seen, const at::Tensor& seenEnds, double temperature,
                                              int64_t topK, double topP, double minP, double repetitionPenalty) {
  const auto logits = givenLogits.contiguous();
  TORCH_CHECK(logits.dim() == 2 && logits.size(1) > 0 && logits.scalar_type() == at::kFloat && logits.device().is_cpu(), "draw_tokens takes logits float32 [rows, vocabulary] on the CPU");
  TORCH_CHECK(shares.numel() == logits.size(0) && shares.scalar_type() == at::kDouble && shares.is_contiguous(), "draw_tokens takes a float64 share for each row");
  TORCH_CHECK(temperature >= 0 && topP > 0 && minP >= 0 && minP <= 1 && repetitionPenalty > 0 && topK >= 0, "draw_tokens: a setting is out of its range");
  TORCH_CHECK(seenEnds.scalar_type() == at::kInt && seen.scalar_type() == at::kInt && seen.is_contiguous() && seenEnds.is_contiguous() &&
                  (repetitionPenalty == 1 || seenEnds.numel() == logits.size(0)), "draw_tokens takes seen tokens as int32, and where those of each row end");
  const auto rows = logits.size(0), size = logits.size(1);
  const auto tokens = at::empty({rows}, logits.options().dtype(at::kLong));
  const auto logps = at::empty({rows}, logits.options());
  const Settings settings = {temperature, topP, minP, repetitionPenalty, topK};
  const int32_t *seenData = seen.data_ptr<int32_t>(), *ends = seenEnds.data_ptr<int32_t>();
  for (int64_t row = 0; row < seenEnds.numel(); row++)
    TORCH_CHECK(ends[row] >= (row > 0 ? ends[row - 1] : 0) && ends[row] <= seen.numel(), "draw_tokens: seen_ends must rise and stay within ", seen.numel(),
                " seen tokens, got ", ends[row], " for row ", row);
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    Drawer drawer{settings, {}, {}, {}};
    for (int64_t row = begin; row < end; row++) {
      const bool penalised = repetitionPenalty != 1;
      const int32_t* from = seenData + (penalised && row > 0 ? ends[row - 1] : 0);
      tokens.data_ptr<int64_t>()[row] = drawer.draw(logits.data_ptr<float>() + row * size, size, from, penalised ? seenData + ends[row] : from,
                                                    shares.data_ptr<double>()[row], logps.data_ptr<float>()[row]);
    }
  });
  return {tokens, logps};
}

}  // namespace prospect
