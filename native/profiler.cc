#include "profiler.h"

#include <ATen/record_function.h>

#include <chrono>
#include <memory>
#include <mutex>

namespace prospect {
namespace {

using Clock = std::chrono::steady_clock;

struct Frame : at::ObserverContext {
  Clock::time_point start = Clock::now();
  double inside = 0;  // milliseconds in operators called by this one
  Frame* caller = nullptr;
};

thread_local Frame* innermost = nullptr;
std::mutex mutex;
std::map<std::string, OperatorTime> times;
at::CallbackHandle callback = 0;

std::unique_ptr<at::ObserverContext> enter(const at::RecordFunction&) {
  auto frame = std::make_unique<Frame>();
  frame->caller = innermost;
  innermost = frame.get();
  return frame;
}

void leave(const at::RecordFunction& function, at::ObserverContext* context) {
  auto* frame = static_cast<Frame*>(context);
  const double elapsed = std::chrono::duration<double, std::milli>(Clock::now() - frame->start).count();
  innermost = frame->caller;
  if (innermost != nullptr) innermost->inside += elapsed;
  std::lock_guard<std::mutex> guard(mutex);
  auto& time = times[function.name()];
  time.milliseconds += elapsed - frame->inside;
  time.calls++;
}

}  // namespace

void startProfile() {
  if (callback != 0) return;
  {
    std::lock_guard<std::mutex> guard(mutex);
    times.clear();
  }
  callback = at::addGlobalCallback(
      at::RecordFunctionCallback(enter, leave).scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
}

std::map<std::string, OperatorTime> stopProfile() {
  if (callback != 0) at::removeCallback(callback);
  callback = 0;
  std::lock_guard<std::mutex> guard(mutex);
  return times;
}

}  // namespace prospect
