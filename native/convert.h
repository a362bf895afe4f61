// Between JavaScript values and the arguments and results of operators, by the operator's own schema.
#pragma once
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/stack.h>
#include <napi.h>

#include <exception>
#include <string>
#include <vector>

#include "operators.h"

namespace prospect {

/// What each JavaScript environment (the main thread or a worker) keeps.
struct Environment {
  uint32_t owner;  // of the tensors that it made
};

/// What an error says, without libtorch's backtrace.
std::string messageOf(const std::exception& error);

at::ScalarType parseDtype(const std::string& name);
const char* dtypeName(at::ScalarType type);
/// `float32[2, 3]`
std::string describeTensor(const at::Tensor& tensor);

at::Tensor toTensor(napi_env env, napi_value value);
std::vector<int64_t> toIntVector(napi_env env, napi_value value);
napi_value fromTensor(napi_env env, at::Tensor tensor, const Environment& environment);

/// Appends one argument to the stack; undefined takes the schema's default. Throws std::runtime_error naming the argument.
void pushArgument(napi_env env, napi_value value, const Argument& argument, torch::jit::Stack& stack);
/// undefined, one value, or an array of the operator's results. Tensors become handles.
napi_value fromStack(napi_env env, torch::jit::Stack& stack, const Environment& environment);
/// `self: float32[2, 3], other: float32[4]`, for error messages: tensors only.
std::string describeArguments(napi_env env, const Operator& op, const napi_value* values, size_t count);

/// Random generators, kept by number: they are few and live as long as the process.
uint32_t addGenerator(at::Generator generator);
at::Generator& generatorAt(uint32_t index);

}  // namespace prospect
