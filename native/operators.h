// The operators of the loaded libtorch, found by name through the c10 dispatcher, with their schemas prepared for conversion.
#pragma once
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>

#include <cstdint>
#include <string>
#include <vector>

namespace prospect {

enum class Kind : uint8_t { Tensor, Int, Float, Bool, String, Scalar, Dtype, Layout, Device, MemoryFormat, Generator, Other };

struct Argument {
  std::string name;
  Kind kind = Kind::Other;
  bool optional = false;
  bool list = false;
  bool optionalElements = false;
  int32_t fixedLength = -1;
  bool hasDefault = false;
  c10::IValue defaultValue;
};

struct Operator {
  c10::OperatorHandle handle;
  std::string name;
  std::vector<Argument> arguments;
};

/// Index of `aten::add.Tensor` and the like, or -1 where this libtorch has no such operator. Safe from any thread.
int32_t findOperator(const std::string& name);
/// Throws std::out_of_range for an index that findOperator did not give.
const Operator& operatorAt(uint32_t index);

}  // namespace prospect
