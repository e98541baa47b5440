#ifndef FILIGREE_WORKER_DATA_STRING_TABLE_H_
#define FILIGREE_WORKER_DATA_STRING_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace filigree::data {

// Byte strings numbered 0, 1, 2, ... in the order of first insertion: a hash table with open addressing whose strings
// lie one behind the other in one buffer. Made for tens of millions of short strings of which most repeat.
class StringTable {
 public:
  StringTable();

  // The number of `text`, new if it was not there. Fewer than 2^32 - 1 strings.
  uint32_t Insert(std::string_view text);

  uint32_t size() const { return static_cast<uint32_t>(ends_.size() - 1); }
  size_t bytes() const { return text_.size(); }
  // Valid until the next Insert.
  std::string_view operator[](uint32_t i) const { return {text_.data() + ends_[i], ends_[i + 1] - ends_[i]}; }

  void Clear();

 private:
  struct Slot {
    uint32_t tag = 0;     // upper half of the hash
    uint32_t number = 0;  // of the string, plus 1; 0: the slot is free
  };

  void Grow();

  std::vector<Slot> slots_;  // a power of two, at most half full
  std::vector<char> text_;
  std::vector<size_t> ends_;  // string i is text_[ends_[i], ends_[i + 1])
};

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_STRING_TABLE_H_
