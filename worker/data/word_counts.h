#ifndef FILIGREE_WORKER_DATA_WORD_COUNTS_H_
#define FILIGREE_WORKER_DATA_WORD_COUNTS_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "worker/data/string_table.h"

namespace filigree::data {

// How often every pre-token occurs. One thread fills one; tables of several threads are added up afterwards.
class WordCounts {
 public:
  void Add(std::string_view word, int64_t times = 1) {
    const uint32_t i = words_.Insert(word);
    if (i == counts_.size()) counts_.push_back(0);
    counts_[i] += times;
  }
  void Add(const WordCounts& other) {
    for (uint32_t i = 0; i < other.size(); ++i) Add(other.word(i), other.count(i));
  }

  uint32_t size() const { return words_.size(); }
  // Of all words together.
  size_t bytes() const { return words_.bytes(); }
  std::string_view word(uint32_t i) const { return words_[i]; }
  int64_t count(uint32_t i) const { return counts_[i]; }

 private:
  StringTable words_;
  std::vector<int64_t> counts_;
};

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_WORD_COUNTS_H_
