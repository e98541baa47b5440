#include "worker/data/documents.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "kernels/base/random.h"
#include "worker/data/files.h"
#include "worker/data/sha256.h"
#include "worker/data/utf8.h"

namespace filigree::data {
namespace {

constexpr int kExamplesOfAReason = 20;

enum class Verdict { kKept, kTooLarge, kUnreadable, kEmpty, kBinary, kNotUtf8 };

struct Scanned {
  Verdict verdict = Verdict::kKept;
  int64_t bytes = 0;
  std::string sha256;
  std::string detail;
};

Scanned Scan(const FoundFile& file, int64_t max_file_bytes) {
  if (file.bytes > max_file_bytes) {
    return {Verdict::kTooLarge, file.bytes, "", fmt::format("{} bytes, the limit is {}", file.bytes, max_file_bytes)};
  }
  const absl::StatusOr<std::string> text = ReadWholeFile(file.path, max_file_bytes);
  if (!text.ok()) return {Verdict::kUnreadable, 0, "", std::string(text.status().message())};
  const auto bytes = static_cast<int64_t>(text->size());
  if (text->empty()) return {Verdict::kEmpty, 0, "", "no bytes"};
  if (const size_t zero = text->find('\0'); zero != std::string::npos) {
    return {Verdict::kBinary, bytes, "", fmt::format("a zero byte at {}", zero)};
  }
  if (const size_t bad = FindInvalidUtf8(*text); bad != std::string_view::npos) {
    const int byte = static_cast<unsigned char>((*text)[bad]);
    return {Verdict::kNotUtf8, bytes, "", fmt::format("byte 0x{:02x} at {} is not UTF-8", byte, bad)};
  }
  return {Verdict::kKept, bytes, Sha256Hex(*text), ""};
}

// Counts and names the files that are left out.
class Drops {
 public:
  explicit Drops(Documents& documents) : documents_(documents) {}

  void Add(int64_t Dropped::*reason, const char* name, const std::string& what) {
    const int64_t count = ++(documents_.dropped.*reason);
    const std::string line = fmt::format("{}: {}", name, what);
    if (count <= kExamplesOfAReason) documents_.dropped.examples.push_back(line);
    documents_.dropped_lines += line + "\n";
  }

  void Add(const FoundFile& file, const Scanned& scanned) {
    const std::string what = fmt::format("{}: {}", file.path, scanned.detail);
    switch (scanned.verdict) {
      case Verdict::kTooLarge:
        return Add(&Dropped::too_large, "too large", what);
      case Verdict::kUnreadable:
        return Add(&Dropped::unreadable, "unreadable", scanned.detail);
      case Verdict::kEmpty:
        return Add(&Dropped::empty, "empty", what);
      case Verdict::kBinary:
        return Add(&Dropped::binary, "binary", what);
      case Verdict::kNotUtf8:
        return Add(&Dropped::not_utf8, "not UTF-8", what);
      case Verdict::kKept:
        return;
    }
  }

 private:
  Documents& documents_;
};

// In [0, 1), from the content of the document and the seed.
double SplitPosition(const Document& document, int64_t seed) {
  uint64_t head = 0;
  std::from_chars(document.sha256.data(), document.sha256.data() + 16, head, 16);
  return kernels::CounterRng(static_cast<uint64_t>(seed), kernels::StreamOf("validation split")).Uniform(head);
}

}  // namespace

Documents ScanFiles(const FoundFiles& found, int64_t max_file_bytes, kernels::ThreadPool& pool,
                    const ProgressSink& sink) {
  int64_t total = 0;
  for (const FoundFile& file : found.files) total += file.bytes;
  PhaseProgress progress(sink, "reading files", total, "bytes");
  std::vector<Scanned> scanned(found.files.size());
  pool.Run(static_cast<int64_t>(scanned.size()), [&](int64_t i, int) {
    scanned[i] = Scan(found.files[i], max_file_bytes);
    progress.Add(found.files[i].bytes);
  });

  Documents documents;
  Drops drops(documents);
  for (const std::string& what : found.unreadable) drops.Add(&Dropped::unreadable, "unreadable", what);
  std::unordered_map<std::string, std::string> path_of;  // by content
  for (size_t i = 0; i < scanned.size(); ++i) {
    const std::string& path = found.files[i].path;
    if (scanned[i].verdict != Verdict::kKept) {
      drops.Add(found.files[i], scanned[i]);
    } else if (const auto [first, is_new] = path_of.try_emplace(scanned[i].sha256, path); !is_new) {
      drops.Add(&Dropped::duplicate, "duplicate", fmt::format("{}: the same bytes as {}", path, first->second));
    } else {
      documents.all.push_back({path, scanned[i].bytes, std::move(scanned[i].sha256), false});
    }
  }
  return documents;
}

void SplitOffValidation(std::vector<Document>& documents, double val_fraction, int64_t seed) {
  if (documents.size() < 2) return;
  const auto by_position = [&](const Document& a, const Document& b) {
    return std::pair(SplitPosition(a, seed), a.sha256) < std::pair(SplitPosition(b, seed), b.sha256);
  };
  for (Document& document : documents) document.validation = SplitPosition(document, seed) < val_fraction;
  const auto [lowest, highest] = std::minmax_element(documents.begin(), documents.end(), by_position);
  lowest->validation = true;
  highest->validation = false;
}

absl::StatusOr<std::string> ReadDocument(const Document& document) {
  const std::string changed =
      fmt::format("{}: changed while it was being prepared; run `filigree prepare` again", document.path);
  absl::StatusOr<std::string> text = ReadWholeFile(document.path, document.bytes);
  if (absl::IsNotFound(text.status()) || absl::IsResourceExhausted(text.status())) return absl::DataLossError(changed);
  if (!text.ok()) return text;
  if (Sha256Hex(*text) != document.sha256) return absl::DataLossError(changed);
  return text;
}

}  // namespace filigree::data
