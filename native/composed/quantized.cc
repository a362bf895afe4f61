#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <map>
#include <mutex>

#include "composed/composed.h"
#include "kernels/kernels.h"
#include "kernels/quantized.h"

namespace prospect {
namespace composed {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Tables of numbers, on the device where they are looked up.
const at::Tensor& onDevice(at::Tensor (*make)(), const c10::Device& device) {
  static std::mutex mutex;
  static auto& known = *new std::map<std::pair<at::Tensor (*)(), std::string>, at::Tensor>();
  const std::lock_guard<std::mutex> guard(mutex);
  auto& table = known[{make, device.str()}];
  if (!table.defined()) table = make().to(device);
  return table;
}

at::Tensor lookedUp(at::Tensor (*make)(), const at::Tensor& codes) { return at::embedding(onDevice(make, codes.device()), codes.to(at::kInt)); }

/// The scale of each block, float32 [blocks].
at::Tensor scalesOf(const at::Tensor& absmax, const at::Tensor& nested) {
  if (absmax.scalar_type() == at::kFloat) return absmax;
  const auto groups = nested.narrow(0, 1, nested.size(0) - 1).repeat_interleave(kNestedBlock).narrow(0, 0, absmax.size(0));
  return lookedUp(dynamicCodes, absmax).flatten().mul_(groups).add_(nested.narrow(0, 0, 1));
}

/// Codes in float32, [weights].
at::Tensor valuesOf(const at::Tensor& data, int64_t bits) {
  if (bits == 4) return lookedUp(normalFloatPairs, data).flatten();
  return data.view(at::kChar).to(at::kFloat).div_(127);
}

struct QuantizedLinear : torch::autograd::Function<QuantizedLinear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor& data, const at::Tensor& absmax,
                            const at::Tensor& nested, int64_t rows, int64_t bits) {
    context->save_for_backward({data, absmax, nested});
    context->saved_data["rows"] = rows;
    context->saved_data["bits"] = bits;
    return at::linear(input, composed::dequantize(data, absmax, nested, {rows, input.size(-1)}, bits, input.scalar_type()));
  }

  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const auto saved = context->get_saved_variables();
    const auto rows = context->saved_data["rows"].toInt(), bits = context->saved_data["bits"].toInt();
    const auto width = saved[0].numel() * 8 / bits / rows;
    const auto weight = composed::dequantize(saved[0], saved[1], saved[2], {rows, width}, bits, outputs[0].scalar_type());
    return {at::mm(outputs[0].reshape({-1, rows}), weight), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

std::tuple<at::Tensor, at::Tensor, at::Tensor> quantize(const at::Tensor& weight, int64_t bits, bool nestedScales) {
  const auto device = weight.device();
  const auto [data, absmax, nested] = prospect::quantize(weight.cpu(), bits, nestedScales);
  return {data.to(device), absmax.to(device), nested.to(device)};
}

at::Tensor dequantize(const at::Tensor& data, const at::Tensor& absmax, const at::Tensor& nested, at::IntArrayRef shape, int64_t bits,
                      at::ScalarType dtype) {
  int64_t wanted = 1;
  for (const auto length : shape) wanted *= length;
  TORCH_CHECK((bits == 4 || bits == 8) && data.numel() * 8 == wanted * bits && absmax.numel() == (wanted + kBlock - 1) / kBlock, "dequantize: data of ", data.numel(),
              " bytes and ", absmax.numel(), " scales do not make ", wanted, " weights of ", bits, " bits");
  const auto values = valuesOf(data, bits), scales = scalesOf(absmax, nested);
  const auto count = values.size(0);
  if (count % kBlock == 0) return values.view({-1, kBlock}).mul_(scales.unsqueeze(1)).to(dtype).view(shape);
  return values.mul_(scales.repeat_interleave(kBlock).narrow(0, 0, count)).to(dtype).view(shape);
}

at::Tensor quantizedLinear(const at::Tensor& input, const at::Tensor& data, const at::Tensor& absmax, const at::Tensor& nested, int64_t rows,
                           int64_t bits) {
  TORCH_CHECK(input.dim() == 2, "quantized_linear takes an input of [tokens, width]");
  return QuantizedLinear::apply(input, data, absmax, nested, rows, bits);
}

}  // namespace composed
}  // namespace prospect
