// Memory of large CPU tensors: one stretch of addresses on huge pages, out of which blocks are cut and joined again.
//
// A training step allocates the same sizes in the same order each time. Given back to the kernel, every block would be
// faulted in and zeroed again page by page in the next step. So what is freed keeps its pages and serves the next tensors,
// whole or in parts. What is kept never makes the process larger than it was at its largest moment, but for a small slack.
#include "memory.h"

#include <c10/core/CPUAllocator.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace esvit {
namespace {

#ifdef __linux__

constexpr size_t kHugePage = size_t{2} << 20;
// Smaller blocks stay with malloc, which keeps them as well (see runtime.cc).
constexpr size_t kLarge = size_t{1} << 20;
// Blocks start on multiples of this.
constexpr size_t kUnit = size_t{64} << 10;
// Memory in use and memory kept together may exceed the most that was ever in use by this part.
constexpr size_t kSlackShare = 8;

[[noreturn]] void outOfMemory(size_t bytes) {
  TORCH_CHECK(false, "out of memory: ", bytes, " bytes were asked of the system");
  std::abort();  // not reached; the macro does not say so to every compiler
}

class Blocks {
 public:
  void* take(size_t bytes) {
    const size_t size = (bytes + kUnit - 1) / kUnit * kUnit;
    std::lock_guard<std::mutex> lock(mutex_);
    most_ = std::max(most_, used_ + size);
    char* block = takeKept(size);
    if (block == nullptr) {
      makeRoom(size);
      block = takeFresh(size);
    }
    if (block == nullptr && reserve(size)) block = takeFresh(size);
    if (block == nullptr) outOfMemory(bytes);
    used_ += size;
    return block;
  }

  void give(void* block) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto place = ranges_.find(static_cast<char*>(block));
    used_ -= place->second.size;
    become(place, Kind::kept);
  }

  bool holds(void* block) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto place = ranges_.find(static_cast<char*>(block));
    return place != ranges_.end() && place->second.kind == Kind::used;
  }

 private:
  // kept: free, with pages behind it; fresh: free, without, so that it costs nothing.
  enum class Kind { used, kept, fresh };
  struct Range {
    size_t size;
    Kind kind;
  };
  using Ranges = std::map<char*, Range>;
  using BySize = std::set<std::pair<size_t, char*>>;

  BySize& freeOf(Kind kind) { return kind == Kind::kept ? kept_ : fresh_; }

  void forget(Ranges::iterator place) {
    const auto [size, kind] = place->second;
    if (kind == Kind::used) return;
    freeOf(kind).erase({size, place->first});
    if (kind == Kind::kept) keptBytes_ -= size;
  }
  void note(Ranges::iterator place) {
    const auto [size, kind] = place->second;
    if (kind == Kind::used) return;
    freeOf(kind).insert({size, place->first});
    if (kind == Kind::kept) keptBytes_ += size;
  }

  // A range that is free from now on is joined with its neighbours of the same kind.
  Ranges::iterator become(Ranges::iterator place, Kind kind) {
    forget(place);
    place->second.kind = kind;
    const auto next = std::next(place);
    if (next != ranges_.end() && joins(place, next)) {
      forget(next);
      place->second.size += next->second.size;
      ranges_.erase(next);
    }
    if (place != ranges_.begin()) {
      const auto before = std::prev(place);
      if (joins(before, place)) {
        forget(before);
        before->second.size += place->second.size;
        ranges_.erase(place);
        place = before;
      }
    }
    note(place);
    return place;
  }
  static bool follows(Ranges::iterator first, Ranges::iterator second) {
    return first->first + first->second.size == second->first;
  }
  static bool joins(Ranges::iterator first, Ranges::iterator second) {
    return first->second.kind == second->second.kind && follows(first, second);
  }

  // The first `size` bytes of a free range; the rest stays what it was.
  char* cut(Ranges::iterator place, size_t size) {
    forget(place);
    const auto [whole, kind] = place->second;
    if (whole > size) note(ranges_.emplace(place->first + size, Range{whole - size, kind}).first);
    place->second = {size, Kind::used};
    return place->first;
  }

  // Out of the smallest kept range that is large enough.
  char* takeKept(size_t size) {
    const auto found = kept_.lower_bound({size, nullptr});
    return found == kept_.end() ? nullptr : cut(ranges_.find(found->second), size);
  }

  // Out of fresh memory, and of the kept range before it where there is one.
  char* takeFresh(size_t size) {
    Ranges::iterator best = ranges_.end();
    size_t most = 0;
    for (const auto& [bytes, start] : fresh_) {
      const auto place = ranges_.find(start);
      size_t before = 0;
      if (place != ranges_.begin()) {
        const auto kept = std::prev(place);
        if (kept->second.kind == Kind::kept && follows(kept, place)) before = kept->second.size;
      }
      if (before + bytes < size || (best != ranges_.end() && before <= most)) continue;
      best = place;
      most = before;
    }
    if (best == ranges_.end()) return nullptr;
    if (most == 0) return cut(best, size);
    const auto kept = std::prev(best);
    cut(best, size - most);
    forget(kept);
    ranges_.erase(best);
    kept->second = {size, Kind::used};
    return kept->first;
  }

  // Gives the pages of kept ranges back, the largest first, until `size` more bytes keep within the limit.
  void makeRoom(size_t size) {
    const size_t limit = most_ + most_ / kSlackShare;
    while (!kept_.empty() && used_ + keptBytes_ + size > limit) {
      const auto place = ranges_.find(std::prev(kept_.end())->second);
      madvise(place->first, place->second.size, MADV_DONTNEED);
      become(place, Kind::fresh);
    }
  }

  // More addresses: first as many as the machine has memory, which costs nothing; what does not fit there is asked for by
  // itself, so that the kernel can refuse it.
  bool reserve(size_t size) {
    if (ranges_.empty() && !isStrict()) {
      const auto machine = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
      if (size <= machine && map(machine / kHugePage * kHugePage, MAP_NORESERVE)) return true;
    }
    return map((size + kHugePage - 1) / kHugePage * kHugePage, 0);
  }

  // Whether the kernel counts addresses as if they were memory.
  static bool isStrict() {
    std::FILE* file = std::fopen("/proc/sys/vm/overcommit_memory", "r");
    if (file == nullptr) return false;
    const int mode = std::fgetc(file);
    std::fclose(file);
    return mode == '2';
  }

  bool map(size_t size, int flags) {
    void* raw = mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    if (raw == MAP_FAILED) return false;
    // Mapped on a border of huge pages; what sticks out is given back.
    auto* start = static_cast<char*>(raw);
    auto* aligned = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(raw) + kHugePage - 1) / kHugePage * kHugePage);
    if (aligned > start) munmap(start, static_cast<size_t>(aligned - start));
    if (aligned < start + kHugePage) munmap(aligned + size, static_cast<size_t>(start + kHugePage - aligned));
    // Only a hint: without huge pages all is slower, not wrong.
    madvise(aligned, size, MADV_HUGEPAGE);
    become(ranges_.emplace(aligned, Range{size, Kind::used}).first, Kind::fresh);
    return true;
  }

  std::mutex mutex_;
  Ranges ranges_;  // all of them, by address
  BySize kept_, fresh_;
  size_t used_ = 0;
  size_t keptBytes_ = 0;
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
