#include "worker/data/encode_documents.h"

#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "worker/data/encoder.h"
#include "worker/data/shard_writer.h"

namespace filigree::data {
namespace {

constexpr int64_t kBatchBytesAThread = int64_t{16} << 20;

std::string DocumentLine(const std::string& split, const Document& document, int64_t begin, int64_t tokens) {
  const nlohmann::ordered_json line = {{"path", document.path}, {"split", split},   {"bytes", document.bytes},
                                       {"begin", begin},        {"tokens", tokens}, {"sha256", document.sha256}};
  // A path is bytes and may be no UTF-8: such bytes are shown as U+FFFD.
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

// The documents from `begin` on that make a batch for `threads`; at least one.
std::span<const Document* const> Batch(const std::vector<const Document*>& documents, size_t begin, int threads) {
  int64_t bytes = 0;
  size_t end = begin;
  while (end < documents.size() && bytes < kBatchBytesAThread * threads) bytes += documents[end++]->bytes;
  return std::span(documents).subspan(begin, end - begin);
}

class Job {
 public:
  Job(const EncodeJob& job, const Tokenizer& tokenizer, kernels::ThreadPool& pool)
      : job_(job),
        pool_(pool),
        end_of_text_(static_cast<uint16_t>(tokenizer.end_of_text())),
        encoders_(pool.threads(), Encoder(tokenizer)),
        writer_(job.dir, job.shard_name, job.shard_tokens) {}

  absl::Status Add(std::span<const Document* const> batch, PhaseProgress& progress, std::string& lines) {
    std::vector<absl::Status> statuses(batch.size());
    std::vector<std::vector<uint16_t>> tokens(batch.size());
    pool_.Run(static_cast<int64_t>(batch.size()), [&](int64_t i, int worker) {
      const absl::StatusOr<std::string> text = ReadDocument(*batch[i]);
      statuses[i] = text.status();
      if (text.ok()) encoders_[worker].Encode(*text, tokens[i]);
      tokens[i].push_back(end_of_text_);
      progress.Add(batch[i]->bytes);
    });
    for (size_t i = 0; i < batch.size(); ++i) {
      if (!statuses[i].ok()) return statuses[i];
      lines += DocumentLine(job_.split, *batch[i], writer_.tokens(), static_cast<int64_t>(tokens[i].size()));
      if (absl::Status status = writer_.Append(tokens[i]); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Split> Finish(int64_t bytes) {
    absl::StatusOr<std::vector<FileEntry>> shards = writer_.Finish();
    if (!shards.ok()) return shards.status();
    return Split{static_cast<int64_t>(job_.documents.size()), bytes, writer_.tokens(), *std::move(shards)};
  }

 private:
  const EncodeJob& job_;
  kernels::ThreadPool& pool_;
  uint16_t end_of_text_;
  std::vector<Encoder> encoders_;  // one a thread
  ShardWriter writer_;
};

}  // namespace

absl::StatusOr<Split> EncodeDocuments(const EncodeJob& job, const Tokenizer& tokenizer, kernels::ThreadPool& pool,
                                      const ProgressSink& sink, std::string& lines) {
  int64_t bytes = 0;
  for (const Document* document : job.documents) bytes += document->bytes;
  PhaseProgress progress(sink, "encoding " + job.split, bytes, "bytes");
  Job running(job, tokenizer, pool);
  for (size_t begin = 0; begin < job.documents.size();) {
    const auto batch = Batch(job.documents, begin, pool.threads());
    if (absl::Status status = running.Add(batch, progress, lines); !status.ok()) return status;
    begin += batch.size();
  }
  return running.Finish(bytes);
}

}  // namespace filigree::data
