// The dynamic 8-bit type: exponent in tens, linear fraction, and a sign or another bit of the fraction (Dettmers, arXiv 1511.04561 and 2110.02861).
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace prospect {

using DynamicCode = std::array<float, 256>;

/// Its values, ascending, 1 the largest; with a sign, or from 0 on.
inline DynamicCode makeDynamicCode(bool withSign) {
  DynamicCode code{};
  size_t count = 0;
  for (int exponent = 0; exponent < 7; exponent++) {
    const int steps = 1 << (exponent + (withSign ? 0 : 1));
    const auto boundary = [&](int i) { return 0.1f + (1.0f - 0.1f) * static_cast<float>(i) / static_cast<float>(steps); };
    for (int i = 0; i < steps; i++) {
      const auto value = static_cast<float>(std::pow(10.0, exponent - 6) * ((boundary(i) + boundary(i + 1)) / 2));
      code[count++] = value;
      if (withSign) code[count++] = -value;
    }
  }
  code[count++] = 0;
  code[count++] = 1;
  std::sort(code.begin(), code.end());
  return code;
}

inline const DynamicCode& dynamicCode(bool withSign) {
  static const DynamicCode signedCode = makeDynamicCode(true), unsignedCode = makeDynamicCode(false);
  return withSign ? signedCode : unsignedCode;
}

/// What lies between a code's values: a number up to the i-th of them belongs to the i-th value.
inline std::array<float, 255> middlesOf(const DynamicCode& code) {
  std::array<float, 255> middles{};
  for (size_t i = 0; i < middles.size(); i++) middles[i] = (code[i] + code[i + 1]) / 2;
  return middles;
}

/// Elements of AdamW's moments that share a scale.
constexpr int64_t kMomentBlock = 256;

}  // namespace prospect
