#include "worker/data/prepare.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "worker/cli/command.h"
#include "worker/cli/print.h"
#include "worker/data/find_files.h"

// filigree prepare: folders of text -> a corpus with tokenizer, token shards and manifest.

namespace filigree::cli {
namespace {

using Clock = std::chrono::steady_clock;

std::string Amount(int64_t amount, const std::string& unit) {
  if (unit == "bytes") return fmt::format("{:.1f} MB", static_cast<double>(amount) / 1e6);
  return fmt::format("{} {}", amount, unit);
}

// Progress on stderr: on a terminal a bar that is redrawn in place, else a line at the end of every phase and one every
// ten seconds in between.
class ProgressLine {
 public:
  void Show(const data::ProgressReport& report) {
    const Clock::time_point now = Clock::now();
    if (report.phase != phase_) {
      phase_ = report.phase;
      began_ = shown_ = now;
      ended_ = false;
    }
    if (ended_) return;
    ended_ = report.done >= report.total;
    const double quiet = std::chrono::duration<double>(now - shown_).count();
    if (!ended_ && quiet < (terminal_ ? 0.1 : 10.0)) return;
    shown_ = now;
    Draw(report, std::chrono::duration<double>(now - began_).count());
  }

  // After an error: what is printed next begins a line of its own.
  void Leave() const {
    if (terminal_ && !ended_) Print(stderr, "\n");
  }

 private:
  void Draw(const data::ProgressReport& report, double seconds) const {
    const double share = report.total > 0 ? static_cast<double>(report.done) / static_cast<double>(report.total) : 1;
    const std::string counts =
        fmt::format("{} of {}", Amount(report.done, report.unit), Amount(report.total, report.unit));
    if (!terminal_) {
      Print(stderr, "{}: {} ({:.0f} %), {:.1f} s\n", report.phase, counts, 100 * share, seconds);
    } else {
      const auto filled = static_cast<size_t>(share * kBarWidth);
      Print(stderr, "\r\x1b[K{:<20} [{}{}] {:3.0f} %  {}, {:.1f} s{}", report.phase, std::string(filled, '#'),
            std::string(kBarWidth - filled, ' '), 100 * share, counts, seconds, ended_ ? "\n" : "");
    }
    std::fflush(stderr);
  }

  static constexpr size_t kBarWidth = 24;

  const bool terminal_ = isatty(STDERR_FILENO) == 1;
  std::string phase_;
  Clock::time_point began_, shown_;
  bool ended_ = true;
};

void PrintSplit(const char* name, const data::Split& split) {
  Print("{:<11}{:>8} documents {:>9} {:>12} tokens, {:.2f} bytes each, {} shard{}\n", name, split.documents,
        Amount(split.bytes, "bytes"), split.tokens, split.bytes_per_token(), split.shards.size(),
        split.shards.size() == 1 ? "" : "s");
}

void PrintSummary(const std::string& out, const data::Manifest& m) {
  PrintSplit("train", m.train);
  PrintSplit("validation", m.validation);
  Print("{:<11}{:>8} ids: 256 bytes, {} merges, end of text\n", "tokenizer", m.vocab, m.merges);
  const data::Baselines& b = m.baselines;
  Print(
      "{:<11}uniform {:.3f}, unigram {:.3f}, Kneser-Ney bigram {:.3f} nats a token; {:.3f}, {:.3f}, {:.3f} bits a "
      "byte\n",
      "baselines", b.uniform_nats, b.unigram_nats, b.bigram_nats, b.uniform_bits_per_byte, b.unigram_bits_per_byte,
      b.bigram_bits_per_byte);
  Print("{}\n", data::DescribeDropped(m.dropped));
  for (const std::string& example : m.dropped.examples) {
    // Duplicates and empty files are no loss; all are in dropped.txt.
    if (!example.starts_with("duplicate") && !example.starts_with("empty")) Print("  {}\n", example);
  }
  Print("written to {} (content {})\n", out, m.content_sha256.substr(0, 16));
}

// "py", "*.py" and ".py" mean the same.
std::string EndingOf(std::string extension) {
  if (extension.starts_with('*')) extension.erase(0, 1);
  return extension.starts_with('.') ? extension : "." + extension;
}

struct Flags {
  data::PrepareOptions options;
  std::vector<std::string> more;
  bool all_files = false;
};

absl::Status Run(Flags flags) {
  data::PrepareOptions& options = flags.options;
  if (options.inputs.empty()) options.inputs = data::DefaultInputs();
  options.inputs.insert(options.inputs.end(), flags.more.begin(), flags.more.end());
  for (std::string& extension : options.extensions) extension = EndingOf(extension);
  if (flags.all_files) options.extensions.clear();
  ProgressLine line;
  const absl::StatusOr<data::Manifest> manifest =
      data::Prepare(options, [&](const data::ProgressReport& report) { line.Show(report); });
  line.Leave();
  if (manifest.ok()) PrintSummary(options.out, *manifest);
  return manifest.status();
}

}  // namespace

void AddPrepareCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("prepare", "Make a corpus: tokenizer, token shards, manifest with baselines");
  auto flags = std::make_shared<Flags>();
  data::PrepareOptions& o = flags->options;
  command->add_option("--out", o.out, "Folder to write; an older corpus in it is replaced")->required();
  command->add_option("--input", o.inputs, "Folders (walked) or files; default: the system's Python standard library");
  command->add_option("--add", flags->more, "More folders or files, besides --input or its default");
  command->add_option("--extension", o.extensions, "Endings of the files to take")->capture_default_str();
  command->add_flag("--all-files", flags->all_files, "Take files of any name that hold text");
  command->add_option("--vocab", o.vocab, "Ids of the tokenizer, end of text included")->capture_default_str();
  command->add_option("--val-fraction", o.val_fraction, "Share of the files kept for validation")
      ->capture_default_str();
  command->add_option("--seed", o.seed, "Which files are kept for validation")->capture_default_str();
  command->add_option("--threads", o.threads, "Threads, 0: all cores; changes no byte of the result")
      ->capture_default_str();
  command->add_option("--max-file-bytes", o.max_file_bytes, "Larger files are left out, unread")->capture_default_str();
  command->add_option("--shard-tokens", o.shard_tokens, "Tokens a shard")->capture_default_str();
  command->callback([flags, &exit_code] { exit_code = Finish(Run(*flags)); });
}

}  // namespace filigree::cli
