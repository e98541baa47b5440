#ifndef FILIGREE_WORKER_DATA_TOKENIZER_FILES_H_
#define FILIGREE_WORKER_DATA_TOKENIZER_FILES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/data/tokenizer.h"

// The files of a tokenizer, as texts. docs/formats/tokenizer.md specifies them.
//
// Parsers take any bytes. They accept what other programs write of the same vocabulary (merges as "left right" or as
// [left, right]) and refuse, naming the place, what would give other ids than those programs: another pre-token
// pattern, ids out of order, further special tokens, options of the BPE model we do not have. DataLoss.

namespace filigree::data {

inline constexpr char kTokenizerJsonFile[] = "tokenizer.json";
inline constexpr char kEncoderJsonFile[] = "encoder.json";
inline constexpr char kVocabBpeFile[] = "vocab.bpe";

// `tokens`: the bytes of every id but the last, which is end of text.
std::string FormatTokenizerJson(const std::vector<Merge>& merges, const std::vector<std::string>& tokens);
std::string FormatEncoderJson(const Tokenizer& tokenizer);
std::string FormatVocabBpe(const Tokenizer& tokenizer);

absl::StatusOr<Tokenizer> ParseTokenizerJson(const std::string& text, const std::string& path);
absl::StatusOr<Tokenizer> ParseEncoderAndMerges(const std::string& encoder_json, const std::string& vocab_bpe,
                                                const std::string& dir);

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_TOKENIZER_FILES_H_
