// What is made of small tensors that every layer of a pass is given again, such as the table of segments, is made once.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace prospect {

/// The last few values made, each for some tensors (the same in memory, unchanged) and a key. From any thread: autograd runs backward in its own.
template <typename Value>
class Recent {
 public:
  template <typename Make>
  std::shared_ptr<const Value> get(const std::vector<at::Tensor>& sources, const std::string& key, const Make& make) {
    const std::lock_guard<std::mutex> guard(mutex_);
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
      if (!entry->isFor(sources, key)) continue;
      entries_.splice(entries_.begin(), entries_, entry);
      return entry->value;
    }
    entries_.push_front({sources, versionsOf(sources), key, std::make_shared<const Value>(make())});
    if (entries_.size() > kMost) entries_.pop_back();
    return entries_.front().value;
  }

 private:
  static constexpr size_t kMost = 4;
  static std::vector<int64_t> versionsOf(const std::vector<at::Tensor>& tensors) {
    std::vector<int64_t> versions;
    for (const auto& tensor : tensors) versions.push_back(tensor._version());
    return versions;
  }
  struct Entry {
    std::vector<at::Tensor> sources;  // held, so that no other tensor takes their place in memory
    std::vector<int64_t> versions;
    std::string key;
    std::shared_ptr<const Value> value;

    bool isFor(const std::vector<at::Tensor>& others, const std::string& otherKey) const {
      if (others.size() != sources.size() || otherKey != key) return false;
      for (size_t i = 0; i < sources.size(); i++)
        if (!sources[i].is_same(others[i]) || sources[i]._version() != versions[i]) return false;
      return true;
    }
  };
  std::mutex mutex_;
  std::list<Entry> entries_;
};

}  // namespace prospect
