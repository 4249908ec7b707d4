#include "map_memory.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <unordered_map>
#include <utility>

#include "system_memory.h"

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kHugePage = size_t{2} << 20;
// Memory counts as given back, and its surplus returns to the system, when this part of it is in use at most:
// within a network the maps never get that small.
constexpr size_t kLittle = 16;

constexpr size_t round_up(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

}  // namespace

// Best fit with immediate coalescing, all by offsets from the start.
struct glic_map_memory {
    glic_map_memory(char* mapping, size_t mapped, size_t reserved, size_t kept)
        : mapping_(mapping),
          mapped_(mapped),
          start_(reinterpret_cast<char*>(round_up(reinterpret_cast<uintptr_t>(mapping), kHugePage))),
          kept_(kept) {
        glic::prefer_huge_pages(start_, reserved);
        add_gap(0, reserved);
    }
    ~glic_map_memory() { glic::release_pages(mapping_, mapped_); }
    glic_map_memory(const glic_map_memory&) = delete;
    glic_map_memory& operator=(const glic_map_memory&) = delete;

    void* take(size_t size) {
        if (size > mapped_) return nullptr;
        size = round_up(std::max<size_t>(size, 1), kPage);
        const std::lock_guard<std::mutex> guard(mutex_);
        const auto fit = gaps_by_size_.lower_bound({size, 0});
        if (fit == gaps_by_size_.end()) return nullptr;
        const auto [gap, offset] = *fit;
        if (!glic::commit_pages(start_ + offset, size)) return nullptr;
        remove_gap(gaps_.find(offset));
        if (gap > size) add_gap(offset + size, gap - size);
        blocks_.emplace(offset, size);
        in_use_ += size;
        touched_ = std::max(touched_, offset + size);
        return start_ + offset;
    }

    bool give_back(void* block) {
        const auto address = reinterpret_cast<uintptr_t>(block), start = reinterpret_cast<uintptr_t>(start_);
        if (address < start || address - start >= mapped_) return false;
        const std::lock_guard<std::mutex> guard(mutex_);
        const auto found = blocks_.find(address - start);
        if (found == blocks_.end()) return false;
        size_t offset = found->first, size = found->second;
        blocks_.erase(found);
        in_use_ -= size;
        const auto next = gaps_.lower_bound(offset);
        if (next != gaps_.end() && next->first == offset + size) {
            size += next->second;
            remove_gap(next);
        }
        const auto after = gaps_.lower_bound(offset);
        if (after != gaps_.begin()) {
            const auto before = std::prev(after);
            if (before->first + before->second == offset) {
                offset = before->first;
                size += before->second;
                remove_gap(before);
            }
        }
        add_gap(offset, size);
        if (touched_ > kept_ && in_use_ * kLittle < touched_) release();
        return true;
    }

    glic_map_memory_use used() {
        const std::lock_guard<std::mutex> guard(mutex_);
        return {in_use_, touched_};
    }

  private:
    using Gaps = std::map<size_t, size_t>;

    void add_gap(size_t offset, size_t size) {
        gaps_.emplace(offset, size);
        gaps_by_size_.emplace(size, offset);
    }

    void remove_gap(Gaps::iterator gap) {
        gaps_by_size_.erase({gap->second, gap->first});
        gaps_.erase(gap);
    }

    // Returns the gaps past the first `kept_` bytes to the system.
    void release() {
        size_t touched = kept_;
        for (const auto& [offset, size] : blocks_) touched = std::max(touched, offset + size);
        for (const auto& [offset, size] : gaps_) {
            const size_t first = std::max(offset, kept_), last = std::min(offset + size, touched_);
            if (first < last) glic::discard_pages(start_ + first, last - first);
        }
        touched_ = std::min(touched_, touched);
    }

    char* const mapping_;
    const size_t mapped_;
    char* const start_;
    const size_t kept_;
    std::mutex mutex_;
    Gaps gaps_;  // size of each by its offset
    std::set<std::pair<size_t, size_t>> gaps_by_size_;
    std::unordered_map<size_t, size_t> blocks_;
    size_t in_use_ = 0, touched_ = 0;
};

glic_map_memory* glic_map_memory_open(size_t reserved, size_t kept) try {
    reserved = reserved / kPage * kPage;
    const size_t mapped = reserved + kHugePage;
    void* mapping = glic::reserve_pages(mapped);
    if (mapping == nullptr) return nullptr;
    return new glic_map_memory(static_cast<char*>(mapping), mapped, reserved, kept);
} catch (const std::bad_alloc&) {
    return nullptr;
}

void* glic_map_memory_take(glic_map_memory* memory, size_t size) try {
    return memory->take(size);
} catch (const std::bad_alloc&) {
    return nullptr;
}

int glic_map_memory_give_back(glic_map_memory* memory, void* block) { return memory->give_back(block); }

glic_map_memory_use glic_map_memory_used(glic_map_memory* memory) { return memory->used(); }

void glic_map_memory_close(glic_map_memory* memory) { delete memory; }
