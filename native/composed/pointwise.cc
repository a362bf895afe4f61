// Rotary positions, gated activations, products and dropout.
#include <ATen/ops/bitwise_and.h>
#include <ATen/ops/bitwise_right_shift.h>
#include <ATen/ops/bitwise_xor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/threshold_backward.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <string>

#include "composed/composed.h"
#include "kernels/dispatch.h"
#include "kernels/dropout.h"
#include "kernels/leaf.h"

namespace prospect {
namespace composed {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// (a, b) -> (a cos - b sin, b cos + a sin) in float32, stored as x's type; what lies beyond the turned elements stays.
at::Tensor turn(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, double direction) {
  const auto turned = cos.size(-1), half = turned / 2, size = x.size(-1);
  auto result = at::empty(x.sizes(), x.options());
  const auto a = x.narrow(-1, 0, half), b = x.narrow(-1, half, half);
  const auto c = cos.narrow(-1, 0, half), s = sin.narrow(-1, 0, half);
  result.narrow(-1, 0, half).copy_(c.mul(a).addcmul_(b, s, -direction));
  result.narrow(-1, half, half).copy_(c.mul(b).addcmul_(a, s, direction));
  if (turned < size) result.narrow(-1, turned, size - turned).copy_(x.narrow(-1, turned, size - turned));
  return result;
}

struct RotaryEmbedding : torch::autograd::Function<RotaryEmbedding> {
  static variable_list forward(AutogradContext* context, const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& cos, const at::Tensor& sin) {
    context->save_for_backward({cos, sin});
    return {turn(queries, cos, sin, 1), turn(keys, cos, sin, 1)};
  }
  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const auto saved = context->get_saved_variables();
    const auto back = [&](const at::Tensor& upstream) { return upstream.defined() ? turn(upstream, saved[0], saved[1], -1) : upstream; };
    return {back(outputs[0]), back(outputs[1]), at::Tensor(), at::Tensor()};
  }
};

at::Tensor activated(const at::Tensor& gate, const std::string& name) {
  if (name == "silu") return at::silu(gate);
  if (name == "gelu") return at::gelu(gate, "none");
  if (name == "gelu_tanh") return at::gelu(gate, "tanh");
  if (name == "relu") return at::relu(gate);
  TORCH_CHECK(false, "activation must be 'silu', 'gelu', 'gelu_tanh' or 'relu', got '", name, "'");
}

at::Tensor activationBackward(const at::Tensor& upstream, const at::Tensor& gate, const std::string& name) {
  if (name == "silu") return at::silu_backward(upstream, gate);
  if (name == "relu") return at::threshold_backward(upstream, gate, 0);
  return at::gelu_backward(upstream, gate, name == "gelu" ? "none" : "tanh");
}

struct Gated : torch::autograd::Function<Gated> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up, const std::string& activation) {
    context->save_for_backward({gate, up});
    context->saved_data["activation"] = activation;
    return activated(gate, activation).mul_(up);
  }
  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const auto saved = context->get_saved_variables();
    const auto& name = context->saved_data["activation"].toStringRef();
    return {activationBackward(outputs[0].mul(saved[1]), saved[0], name), activated(saved[0], name).mul_(outputs[0]), at::Tensor()};
  }
};

int64_t signedBits(uint64_t value) { return static_cast<int64_t>(value); }

/// x ^ (x >> by), with zeros shifted in: libtorch's shift of int64 copies the sign.
at::Tensor folded(const at::Tensor& x, int64_t by) {
  const auto mask = signedBits((uint64_t{1} << (64 - by)) - 1);
  return at::bitwise_xor(x, at::bitwise_and(at::bitwise_right_shift(x, by), mask));
}

/// The finaliser of splitmix64, as in kernels/dropout.cc: the masks are the same bits.
at::Tensor mixed(const at::Tensor& x) {
  const auto once = folded(x, 30).mul_(signedBits(0xbf58476d1ce4e5b9u));
  return folded(folded(once, 27).mul_(signedBits(0x94d049bb133111ebu)), 31);
}

uint64_t mixedNumber(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// A product with a rounded copy of a weight, whose gradient goes to the float32 leaf that it was rounded from.
struct LinearOfCopy : torch::autograd::Function<LinearOfCopy> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& master,
                            const c10::optional<at::Tensor>& bias) {
    context->save_for_backward({x, savedWeight(*context, weight, master)});
    context->saved_data["biased"] = bias.has_value() && bias->requires_grad();
    return at::linear(x, weight, bias);
  }
  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &upstream = outputs[0];
    addToGradient(copiedOf(*context)->master, [&](at::Tensor sums, bool add) {
      const auto product = upstream.t().mm(x);
      add ? sums.add_(product) : sums.copy_(product);
    });
    return {x.requires_grad() ? upstream.mm(weightOf(*context, saved[1])) : at::Tensor(), at::Tensor(), at::Tensor(),
            context->saved_data["biased"].toBool() ? upstream.sum(0) : at::Tensor()};
  }
};

/// Which elements become 0, bool [keys, width].
at::Tensor droppedElements(const at::Tensor& keys, int64_t width, int64_t seed, double share) {
  const auto starts = mixed(at::bitwise_xor(keys, signedBits(mixedNumber(static_cast<uint64_t>(seed)))));
  const auto steps = at::arange((width + 1) / 2, keys.options()).mul_(signedBits(0x9e3779b97f4a7c15u));
  const auto random = mixed(starts.unsqueeze(1).add(steps));
  const auto low = at::bitwise_and(random, int64_t{0xffffffff}), high = at::bitwise_and(at::bitwise_right_shift(random, 32), int64_t{0xffffffff});
  const auto threshold = static_cast<int64_t>(static_cast<uint32_t>(share * 4294967296.0));
  return at::stack({low.lt(threshold), high.lt(threshold)}, 2).flatten(1).narrow(1, 0, width);
}

at::Tensor dropped(const at::Tensor& input, const at::Tensor& keys, int64_t seed, double share) {
  auto result = at::empty_like(input);
  const auto width = std::max<int64_t>(1, input.size(1)), rows = std::max<int64_t>(1, (1 << 22) / width);  // 32 MB of random numbers at a time
  const auto factor = static_cast<float>(1 / (1 - share));
  for (int64_t start = 0; start < input.size(0); start += rows) {
    const auto count = std::min(rows, input.size(0) - start);
    const auto gone = droppedElements(keys.narrow(0, start, count), input.size(1), seed, share);
    result.narrow(0, start, count).copy_(input.narrow(0, start, count).to(at::kFloat).mul(factor).masked_fill_(gone, 0));
  }
  return result;
}

}  // namespace

std::tuple<at::Tensor, at::Tensor> rotaryEmbedding(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& cos, const at::Tensor& sin) {
  if (!needsGradient({queries, keys})) return {turn(queries, cos, sin, 1), turn(keys, cos, sin, 1)};
  auto outputs = RotaryEmbedding::apply(queries, keys, cos, sin);
  return {outputs[0], outputs[1]};
}

at::Tensor gatedActivation(const at::Tensor& gate, const at::Tensor& up, c10::string_view activation) {
  const std::string name(activation.data(), activation.size());
  return needsGradient({gate, up}) ? Gated::apply(gate, up, name) : activated(gate, name).mul_(up);
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const c10::optional<at::Tensor>& bias, const c10::optional<at::Tensor>& master) {
  if (!master.has_value() || !needsGradient({*master})) return at::linear(x, weight, bias);
  checkMaster(weight, master);
  return LinearOfCopy::apply(x, weight, *master, bias);
}

at::Tensor gatedLinear(const at::Tensor& gate, const at::Tensor& up, c10::string_view activation, const at::Tensor& weight,
                       const c10::optional<at::Tensor>& master) {
  return composed::linear(composed::gatedActivation(gate, up, activation), weight, c10::nullopt, master);
}

at::Tensor tokenEmbedding(const at::Tensor& weight, const at::Tensor& tokens) { return at::embedding(weight, tokens); }

at::Tensor keyedDropout(const at::Tensor& input, const at::Tensor& keys, int64_t seed, double share) {
  TORCH_CHECK(share >= 0 && share < 1, "keyed_dropout takes a share from 0 to below 1, got ", share);
  return KeyedDropout<&dropped>::apply(input, keys, seed, share);
}

}  // namespace composed
}  // namespace prospect
