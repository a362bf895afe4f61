#include "random.h"

#include <ATen/CPUGeneratorImpl.h>

#include <mutex>

namespace prospect {

at::Generator makeGenerator(int64_t seed) { return at::detail::createCPUGenerator(static_cast<uint64_t>(seed)); }

at::Tensor stateOf(at::Generator& generator) {
  std::lock_guard<std::mutex> guard(generator.mutex());
  return generator.get_state();
}

void setStateOf(at::Generator& generator, const at::Tensor& state) {
  std::lock_guard<std::mutex> guard(generator.mutex());
  generator.set_state(state);
}

}  // namespace prospect
