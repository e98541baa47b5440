#include "worker/data/prepare.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "kernels/base/thread_pool.h"
#include "worker/data/baselines.h"
#include "worker/data/bpe_trainer.h"
#include "worker/data/documents.h"
#include "worker/data/encode_documents.h"
#include "worker/data/files.h"
#include "worker/data/find_files.h"
#include "worker/data/output_folder.h"
#include "worker/data/pre_tokenizer.h"
#include "worker/data/sha256.h"
#include "worker/data/token_stream.h"
#include "worker/data/tokenizer.h"
#include "worker/data/tokenizer_files.h"
#include "worker/data/word_counts.h"

namespace filigree::data {
namespace {

constexpr char kDocumentsFile[] = "documents.jsonl";
constexpr char kDroppedFile[] = "dropped.txt";

absl::Status CheckOptions(const PrepareOptions& o) {
  const auto refuse = [](const std::string& message) { return absl::InvalidArgumentError(message); };
  if (o.out.empty()) return refuse("--out is missing: the folder to write the corpus to");
  if (o.vocab < kMinVocab || o.vocab > kMaxVocab) {
    return refuse(
        fmt::format("--vocab {}: expected {} (256 bytes and end of text) to {}", o.vocab, kMinVocab, kMaxVocab));
  }
  if (!(o.val_fraction > 0 && o.val_fraction < 1)) {
    return refuse(fmt::format("--val-fraction {}: expected a fraction between 0 and 1, such as 0.05", o.val_fraction));
  }
  if (o.seed < 0) return refuse(fmt::format("--seed {}: expected 0 or more", o.seed));
  if (o.threads < 0 || o.threads > 1024)
    return refuse(fmt::format("--threads {}: expected 0 (all cores) to 1024", o.threads));
  if (o.max_file_bytes < 1 || o.max_file_bytes > INT32_MAX) {
    return refuse(fmt::format("--max-file-bytes {}: expected 1 to {}", o.max_file_bytes, INT32_MAX));
  }
  if (o.shard_tokens < 1 || o.shard_tokens > INT32_MAX) {
    return refuse(fmt::format("--shard-tokens {}: expected 1 to {}", o.shard_tokens, INT32_MAX));
  }
  return absl::OkStatus();
}

// For a message: the counts, and the first few names.
std::string NamedDrops(const Dropped& dropped) {
  constexpr size_t kNames = 5;
  std::string text = DescribeDropped(dropped);
  for (size_t i = 0; i < std::min(dropped.examples.size(), kNames); ++i) text += "; " + dropped.examples[i];
  return text;
}

class Preparation {
 public:
  Preparation(const PrepareOptions& options, const ProgressSink& sink, int threads)
      : options_(options), sink_(sink), pool_(threads) {}

  absl::StatusOr<Manifest> Run() {
    absl::StatusOr<std::unique_ptr<OutputFolder>> folder = OutputFolder::Claim(options_.out);
    if (!folder.ok()) return folder.status();
    staging_ = (*folder)->staging();
    if (absl::Status status = FindDocuments(); !status.ok()) return status;
    if (absl::Status status = TrainTokenizer(); !status.ok()) return status;
    if (absl::Status status = WriteTokenizer(); !status.ok()) return status;
    if (absl::Status status = WriteSplit("train", "train", manifest_.train); !status.ok()) return status;
    if (absl::Status status = WriteSplit("validation", "val", manifest_.validation); !status.ok()) return status;
    if (absl::Status status = WriteFile(kDocumentsFile, document_lines_); !status.ok()) return status;
    if (absl::Status status = WriteFile(kDroppedFile, dropped_lines_); !status.ok()) return status;
    if (absl::Status status = Measure(); !status.ok()) return status;
    FillIn();
    if (absl::Status status = (*folder)->Commit(FormatManifest(manifest_)); !status.ok()) return status;
    return manifest_;
  }

 private:
  absl::Status FindDocuments() {
    inputs_ = options_.inputs.empty() ? DefaultInputs() : options_.inputs;
    if (inputs_.empty()) {
      return absl::NotFoundError("no Python standard library under /usr/lib: name folders of text with --input");
    }
    absl::StatusOr<FoundFiles> found = FindFiles(inputs_, options_.extensions, options_.out);
    if (!found.ok()) return found.status();
    Documents documents = ScanFiles(*found, options_.max_file_bytes, pool_, sink_);
    documents_ = std::move(documents.all);
    dropped_lines_ = std::move(documents.dropped_lines);
    manifest_.dropped = std::move(documents.dropped);
    if (documents_.size() < 2) {
      return absl::FailedPreconditionError(fmt::format(
          "{} of {} files found under {} can be used, but a corpus needs two or more different ones, as whole files go "
          "to training and to validation; {}. Give --input folders with text, and --extension the endings of its files "
          "(now: {})",
          documents_.size(), found->files.size(), fmt::join(inputs_, ", "), NamedDrops(manifest_.dropped),
          options_.extensions.empty() ? "any" : fmt::format("{}", fmt::join(options_.extensions, ", "))));
    }
    SplitOffValidation(documents_, options_.val_fraction, options_.seed);
    return absl::OkStatus();
  }

  // Merges are learned from training documents only: validation stays unseen.
  absl::Status TrainTokenizer() {
    const std::vector<const Document*> train = DocumentsOf(false);
    int64_t bytes = 0;
    for (const Document* document : train) bytes += document->bytes;
    PhaseProgress progress(sink_, "counting words", bytes, "bytes");
    std::vector<WordCounts> counts(pool_.threads());
    std::vector<absl::Status> statuses(train.size());
    const PreTokenizer pre_tokenizer;
    pool_.Run(static_cast<int64_t>(train.size()), [&](int64_t i, int worker) {
      const absl::StatusOr<std::string> text = ReadDocument(*train[i]);
      statuses[i] = text.status();
      if (text.ok()) pre_tokenizer.ForEach(*text, [&](std::string_view word) { counts[worker].Add(word); });
      progress.Add(train[i]->bytes);
    });
    for (const absl::Status& status : statuses) {
      if (!status.ok()) return status;
    }
    for (size_t i = 1; i < counts.size(); ++i) counts[0].Add(std::exchange(counts[i], {}));

    const int wanted = options_.vocab - kMinVocab;
    PhaseProgress merging(sink_, "learning merges", wanted, "merges");
    absl::StatusOr<std::vector<Merge>> merges = TrainBpe(counts[0], wanted, [&](int64_t) { merging.Add(1); });
    if (!merges.ok()) return merges.status();
    const int got = static_cast<int>(merges->size());
    if (got < wanted) {
      return absl::InvalidArgumentError(
          fmt::format("--vocab {} needs {} merges, but the text ({} bytes of training documents) has no pair left "
                      "after {}: give more text, or "
                      "--vocab {} or less",
                      options_.vocab, wanted, bytes, got, got + kMinVocab));
    }
    absl::StatusOr<Tokenizer> tokenizer = Tokenizer::FromMerges(*std::move(merges));
    if (!tokenizer.ok()) return tokenizer.status();
    tokenizer_ = std::make_unique<Tokenizer>(*std::move(tokenizer));
    return absl::OkStatus();
  }

  absl::Status WriteTokenizer() {
    std::vector<std::string> tokens;
    tokens.reserve(tokenizer_->end_of_text());
    for (int id = 0; id < tokenizer_->end_of_text(); ++id) tokens.push_back(tokenizer_->TokenBytes(id));
    if (absl::Status status = WriteFile(kTokenizerJsonFile, FormatTokenizerJson(tokenizer_->merges(), tokens));
        !status.ok()) {
      return status;
    }
    if (absl::Status status = WriteFile(kEncoderJsonFile, FormatEncoderJson(*tokenizer_)); !status.ok()) return status;
    return WriteFile(kVocabBpeFile, FormatVocabBpe(*tokenizer_));
  }

  absl::Status WriteSplit(const std::string& split, const std::string& shard_name, Split& written) {
    const EncodeJob job{split, DocumentsOf(split == "validation"), staging_, shard_name, options_.shard_tokens};
    absl::StatusOr<Split> encoded = EncodeDocuments(job, *tokenizer_, pool_, sink_, document_lines_);
    if (!encoded.ok()) return encoded.status();
    written = *std::move(encoded);
    return absl::OkStatus();
  }

  absl::Status Measure() {
    PhaseProgress progress(sink_, "measuring baselines", manifest_.validation.tokens, "tokens");
    const auto open = [&](const Split& split) {
      std::vector<std::string> paths;
      for (const FileEntry& shard : split.shards) paths.push_back(staging_ + "/" + shard.name);
      return TokenStream::Open(paths);
    };
    const absl::StatusOr<TokenStream> train = open(manifest_.train), validation = open(manifest_.validation);
    if (!train.ok()) return train.status();
    if (!validation.ok()) return validation.status();
    manifest_.baselines = MeasureBaselines(*train, *validation, options_.vocab, manifest_.validation.bytes_per_token());
    progress.Add(manifest_.validation.tokens);
    return absl::OkStatus();
  }

  void FillIn() {
    manifest_.vocab = options_.vocab;
    manifest_.merges = options_.vocab - kMinVocab;
    manifest_.tokenizer_sha256 = tokenizer_->digest();
    manifest_.content_sha256 = ContentDigest(manifest_);
    manifest_.inputs = inputs_;
    manifest_.extensions = options_.extensions;
    manifest_.val_fraction = options_.val_fraction;
    manifest_.seed = options_.seed;
    manifest_.max_file_bytes = options_.max_file_bytes;
    manifest_.shard_tokens = options_.shard_tokens;
  }

  absl::Status WriteFile(const std::string& name, const std::string& content) {
    manifest_.files.push_back({name, static_cast<int64_t>(content.size()), Sha256Hex(content)});
    return WriteWholeFile(staging_ + "/" + name, content);
  }

  std::vector<const Document*> DocumentsOf(bool validation) const {
    std::vector<const Document*> some;
    for (const Document& document : documents_) {
      if (document.validation == validation) some.push_back(&document);
    }
    return some;
  }

  const PrepareOptions& options_;
  const ProgressSink& sink_;
  kernels::ThreadPool pool_;
  std::string staging_;
  std::vector<std::string> inputs_;
  std::vector<Document> documents_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::string document_lines_, dropped_lines_;
  Manifest manifest_;
};

}  // namespace

absl::StatusOr<Manifest> Prepare(const PrepareOptions& options, const ProgressSink& progress) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return Preparation(options, progress, options.threads > 0 ? options.threads : cores).Run();
}

}  // namespace filigree::data
