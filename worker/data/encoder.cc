#include "worker/data/encoder.h"

namespace filigree::data {

void Encoder::EncodeCached(std::string_view pre_token, std::vector<uint16_t>& ids) {
  if (known_.bytes() > kCacheBytes) {
    known_.Clear();
    cached_.clear();
    ends_.assign(1, 0);
  }
  const uint32_t i = known_.Insert(pre_token);
  if (i + 1 == ends_.size()) {
    tokenizer_.EncodePreToken(pre_token, cached_);
    ends_.push_back(static_cast<uint32_t>(cached_.size()));
  }
  ids.insert(ids.end(), cached_.begin() + ends_[i], cached_.begin() + ends_[i + 1]);
}

void Encoder::Encode(std::string_view text, std::vector<uint16_t>& ids) {
  pre_tokenizer_.ForEach(text, [&](std::string_view pre_token) {
    if (pre_token.size() > kLongest) {
      tokenizer_.EncodePreToken(pre_token, ids);
    } else {
      EncodeCached(pre_token, ids);
    }
  });
}

}  // namespace filigree::data
