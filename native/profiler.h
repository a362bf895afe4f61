// Where a step's time goes, by operator: libtorch's own record functions, summed.
#pragma once
#include <cstdint>
#include <map>
#include <string>

namespace prospect {

struct OperatorTime {
  double milliseconds = 0;  // without the operators called inside
  int64_t calls = 0;
};

void startProfile();
std::map<std::string, OperatorTime> stopProfile();

}  // namespace prospect
