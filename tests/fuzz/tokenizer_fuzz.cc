#include "kernels/base/check.h"
#include "tests/fuzz/fuzz_target.h"
#include "worker/data/tokenizer.h"
#include "worker/data/tokenizer_files.h"

namespace filigree::fuzz {
namespace {

// Between encoder.json and vocab.bpe, where an input is both.
constexpr std::string_view kBoundary = "\n====\n";

data::Tokenizer Small() { return *data::Tokenizer::FromMerges({{39, 40}, {256, 41}, {257, 257}}); }

std::string Json(const data::Tokenizer& tokenizer) {
  std::vector<std::string> tokens;
  for (int id = 0; id < tokenizer.end_of_text(); ++id) tokens.push_back(tokenizer.TokenBytes(id));
  return data::FormatTokenizerJson(tokenizer.merges(), tokens);
}

// What was taken encodes any bytes and gives them back.
void CheckUsable(const data::Tokenizer& tokenizer, std::string_view text) {
  CHECK(tokenizer.vocab_size() >= data::kMinVocab && tokenizer.vocab_size() <= data::kMaxVocab);
  const std::string_view some = text.substr(0, 1000);
  const std::vector<uint16_t> ids = tokenizer.Encode(some);
  CHECK(tokenizer.Decode(ids) == some, "other bytes come back");
  const auto again = data::ParseTokenizerJson(Json(tokenizer), "again");
  CHECK(again.ok(), "{}", std::string(again.status().message()));
  CHECK(again->digest() == tokenizer.digest());
}

}  // namespace

std::vector<std::string> Seeds() {
  const data::Tokenizer small = Small(), bytes = *data::Tokenizer::FromMerges({});
  return {Json(small), Json(bytes),
          data::FormatEncoderJson(small) + std::string(kBoundary) + data::FormatVocabBpe(small)};
}

void Try(std::string_view input) {
  const size_t boundary = input.find(kBoundary);
  if (boundary != std::string_view::npos) {
    const auto tokenizer = data::ParseEncoderAndMerges(std::string(input.substr(0, boundary)),
                                                       std::string(input.substr(boundary + kBoundary.size())), "input");
    if (tokenizer.ok()) CheckUsable(*tokenizer, input);
    return;
  }
  const auto tokenizer = data::ParseTokenizerJson(std::string(input), "input");
  if (tokenizer.ok()) CheckUsable(*tokenizer, input);
}

}  // namespace filigree::fuzz
