#ifndef FILIGREE_WORKER_DATA_ENCODER_H_
#define FILIGREE_WORKER_DATA_ENCODER_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "worker/data/pre_tokenizer.h"
#include "worker/data/string_table.h"
#include "worker/data/tokenizer.h"

namespace filigree::data {

// Tokenizer::Encode for megabytes of text: remembers the ids of every pre-token it has seen, as most repeat. The same
// ids. One thread uses one; memory is bounded (kCacheBytes of pre-tokens, then it starts anew).
class Encoder {
 public:
  // Borrows `tokenizer`.
  explicit Encoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  // Appends the ids of `text`.
  void Encode(std::string_view text, std::vector<uint16_t>& ids);

 private:
  static constexpr size_t kCacheBytes = 16 << 20;
  static constexpr size_t kLongest = 64;  // longer pre-tokens are not worth remembering

  void EncodeCached(std::string_view pre_token, std::vector<uint16_t>& ids);

  const Tokenizer& tokenizer_;
  PreTokenizer pre_tokenizer_;
  StringTable known_;
  std::vector<uint16_t> cached_;   // the ids of all known pre-tokens
  std::vector<uint32_t> ends_{0};  // pre-token i is cached_[ends_[i], ends_[i + 1])
};

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_ENCODER_H_
