// Seeded random generators on the CPU, whose state can be stored and restored.
#pragma once
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

namespace prospect {

at::Generator makeGenerator(int64_t seed);
/// uint8, one-dimensional.
at::Tensor stateOf(at::Generator& generator);
void setStateOf(at::Generator& generator, const at::Tensor& state);

}  // namespace prospect
