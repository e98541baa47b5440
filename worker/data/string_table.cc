#define XXH_INLINE_ALL
#include "worker/data/string_table.h"

#include <xxhash.h>

#include "kernels/base/check.h"

namespace filigree::data {
namespace {

constexpr size_t kFirstSlots = 1 << 12;

uint64_t HashOf(std::string_view text) { return XXH3_64bits(text.data(), text.size()); }

}  // namespace

StringTable::StringTable() { Clear(); }

void StringTable::Clear() {
  slots_.assign(kFirstSlots, Slot{});
  text_.clear();
  ends_.assign(1, 0);
}

uint32_t StringTable::Insert(std::string_view text) {
  const uint64_t hash = HashOf(text);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = slots_.size() - 1;
  size_t at = hash & mask;
  for (; slots_[at].number != 0; at = (at + 1) & mask) {
    if (slots_[at].tag == tag && (*this)[slots_[at].number - 1] == text) return slots_[at].number - 1;
  }
  const uint32_t number = size();
  CHECK(number < UINT32_MAX - 1, "too many strings");
  slots_[at] = {tag, number + 1};
  text_.insert(text_.end(), text.begin(), text.end());
  ends_.push_back(text_.size());
  if (size_t{size()} * 2 > slots_.size()) Grow();
  return number;
}

void StringTable::Grow() {
  std::vector<Slot> old(slots_.size() * 2);
  old.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.number == 0) continue;
    size_t at = HashOf((*this)[slot.number - 1]) & mask;
    while (slots_[at].number != 0) at = (at + 1) & mask;
    slots_[at] = slot;
  }
}

}  // namespace filigree::data
