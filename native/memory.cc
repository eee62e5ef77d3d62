// Memory of large CPU tensors: blocks that are freed are kept for the next tensor of about their size, on huge pages.
//
// A training step allocates the same sizes in the same order each time. Given back to the kernel, every block would be
// faulted in and zeroed again page by page in the next step. What is kept never makes the process larger than it was
// at its largest moment, but for a small slack.
#include "memory.h"

#include <c10/core/CPUAllocator.h>
#include <torch/version.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <unordered_map>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace esvit {
namespace {

#ifdef __linux__

constexpr size_t kHugePage = size_t{2} << 20;
// Smaller blocks stay with malloc, which keeps them as well (see runtime.cc).
constexpr size_t kLarge = size_t{1} << 20;
// A block may serve a request that is this part smaller than itself.
constexpr size_t kSpareShare = 8;
// Blocks in use and blocks kept together may exceed the most that was ever in use by this part.
constexpr size_t kSlackShare = 8;

[[noreturn]] void outOfMemory(size_t bytes) {
  TORCH_CHECK(false, "out of memory: ", bytes, " bytes were asked of the system");
  std::abort();  // not reached; the macro does not say so to every compiler
}

class Blocks {
 public:
  void* take(size_t bytes) {
    const size_t size = rounded(bytes);
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = bySize_.lower_bound(size);
    if (found != bySize_.end() && found->first <= size + size / kSpareShare) {
      auto entry = found->second;
      bySize_.erase(found);
      void* block = entry->block;
      kept_ -= entry->size;
      use(block, entry->size);
      age_.erase(entry);
      return block;
    }
    most_ = std::max(most_, used_ + size);
    const size_t limit = most_ + most_ / kSlackShare;
    while (!age_.empty() && used_ + kept_ + size > limit) release(age_.begin());
    void* block = map(size);
    while (block == nullptr && !age_.empty()) {
      release(age_.begin());
      block = map(size);
    }
    if (block == nullptr)
      outOfMemory(bytes);
    use(block, size);
    return block;
  }

  void give(void* block) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = inUse_.find(block);
    const size_t size = found->second;
    inUse_.erase(found);
    used_ -= size;
    kept_ += size;
    age_.push_back({block, size, {}});
    auto entry = std::prev(age_.end());
    entry->place = bySize_.emplace(size, entry);
  }

  bool holds(void* block) {
    std::lock_guard<std::mutex> lock(mutex_);
    return inUse_.count(block) > 0;
  }

 private:
  struct Entry;
  using Age = std::list<Entry>;
  using BySize = std::multimap<size_t, Age::iterator>;
  struct Entry {
    void* block;
    size_t size;
    BySize::iterator place;
  };

  static size_t rounded(size_t bytes) {
    const size_t unit = bytes >= 8 * kHugePage ? kHugePage : size_t{64} << 10;
    return (bytes + unit - 1) / unit * unit;
  }

  // Mapped on a border of huge pages; what sticks out on both sides is given back.
  static void* map(size_t size) {
    const size_t whole = size + kHugePage;
    void* raw = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) return nullptr;
    const auto start = reinterpret_cast<uintptr_t>(raw);
    const auto aligned = (start + kHugePage - 1) / kHugePage * kHugePage;
    const size_t before = aligned - start;
    if (before > 0) munmap(raw, before);
    const size_t after = whole - before - size;
    auto* block = reinterpret_cast<void*>(aligned);
    if (after > 0) munmap(static_cast<char*>(block) + size, after);
    // Only a hint: without huge pages all is slower, not wrong.
    if (size >= kHugePage) madvise(block, size, MADV_HUGEPAGE);
    return block;
  }

  void use(void* block, size_t size) {
    inUse_.emplace(block, size);
    used_ += size;
    most_ = std::max(most_, used_);
  }

  void release(Age::iterator entry) {
    munmap(entry->block, entry->size);
    kept_ -= entry->size;
    bySize_.erase(entry->place);
    age_.erase(entry);
  }

  std::mutex mutex_;
  std::unordered_map<void*, size_t> inUse_;
  Age age_;  // kept blocks, the oldest first
  BySize bySize_;
  size_t used_ = 0;
  size_t kept_ = 0;
  size_t most_ = 0;
};

// Never destroyed: tensors may be freed after the statics of this library are.
Blocks& blocks() {
  static auto* all = new Blocks();
  return *all;
}

void deleteAny(void* block) {
  if (block == nullptr) return;
  if (blocks().holds(block)) blocks().give(block);
  else std::free(block);
}

void deleteLarge(void* block) { blocks().give(block); }

class KeepingAllocator final : public c10::Allocator {
 public:
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 3)
  c10::DataPtr allocate(size_t bytes) override { return make(bytes); }
#else
  c10::DataPtr allocate(size_t bytes) const override { return make(bytes); }
#endif
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 1)
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
#endif
  c10::DeleterFnPtr raw_deleter() const override { return &deleteAny; }

 private:
  static c10::DataPtr make(size_t bytes) {
    const c10::Device cpu(c10::DeviceType::CPU);
    if (bytes == 0) return {nullptr, nullptr, &deleteAny, cpu};
    if (bytes >= kLarge) {
      void* block = blocks().take(bytes);
      return {block, block, &deleteLarge, cpu};
    }
    void* block = nullptr;
    if (posix_memalign(&block, 64, bytes) != 0)
      outOfMemory(bytes);
    return {block, block, &std::free, cpu};
  }
};

#endif

}  // namespace

void keepLargeBlocks() {
#ifdef __linux__
  static std::once_flag once;
  std::call_once(once, [] { c10::SetCPUAllocator(new KeepingAllocator(), 1); });
#endif
}

}  // namespace esvit
