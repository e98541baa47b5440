#include "coordinator/journal/journal.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "coordinator/journal/content.h"
#include "coordinator/journal/database.h"
#include "coordinator/journal/file_lock.h"
#include "coordinator/journal/files.h"
#include "coordinator/journal/schema.h"
#include "coordinator/journal/sheets.h"

namespace filigree::coordinator {
namespace {

// The log is moved into the file whenever it has this many pages, and cut where it grew larger than this all the same.
constexpr int kCheckpointPages = 1000;
constexpr int kMaxIdleLogBytes = 16 << 20;

absl::Status SetUp(const Database& database) {
  // Answers with the mode there is: another one where the file system cannot share memory among processes.
  auto mode = database.Prepare("PRAGMA journal_mode = WAL");
  if (!mode.ok()) return mode.status();
  const auto row = mode->Step();
  if (!row.ok()) return row.status();
  if (const auto text = mode->Text(0); !text.ok() || *text != "wal")
    return absl::UnavailableError(fmt::format(
        "journal {}: its file system cannot hold a write-ahead log; put it on a local one", database.path()));
  mode->Reset();
  for (const std::string& sql :
       {std::string("PRAGMA cell_size_check = ON"), std::string("PRAGMA mmap_size = 0"),
        std::string("PRAGMA synchronous = FULL"), fmt::format("PRAGMA wal_autocheckpoint = {}", kCheckpointPages),
        fmt::format("PRAGMA journal_size_limit = {}", kMaxIdleLogBytes)})
    if (absl::Status status = database.Run(sql); !status.ok()) return status;
  return absl::OkStatus();
}

absl::Status CheckStructure(const Database& database) {
  auto problems = database.Prepare("PRAGMA integrity_check(1)");
  if (!problems.ok()) return problems.status();
  const auto row = problems->Step();
  if (!row.ok()) return row.status();
  const auto text = *row ? problems->Text(0) : absl::DataLossError("it says nothing");
  if (text.ok() && *text == "ok") return absl::OkStatus();
  return absl::DataLossError(
      fmt::format("SQLite's integrity check: {}", text.ok() ? *text : std::string(text.status().message())));
}

// DataLoss with the file and what to do next; other errors have said so.
absl::Status Damaged(const std::string& path, const absl::Status& status) {
  if (status.code() != absl::StatusCode::kDataLoss || status.message().find(path) != absl::string_view::npos)
    return status;
  return absl::DataLossError(
      fmt::format("journal {} is damaged: {}; nothing was changed in it; move it and its -wal and -shm aside and put "
                  "the last copy in their place (docs/coordinator.md)",
                  path, std::string(status.message())));
}

// One name for one file: its lock goes by the name, and the database follows links, also to what is not there yet.
std::string Resolved(const std::string& path) {
  constexpr int kMostLinks = 40;  // as the system has it
  std::error_code error;
  std::filesystem::path file = path;
  for (int links = 0; links < kMostLinks && std::filesystem::is_symlink(file, error); ++links) {
    const std::filesystem::path to = std::filesystem::read_symlink(file, error);
    if (error) return path;
    file = file.parent_path() / to;  // an absolute one stands alone
  }
  const std::filesystem::path folder =
      std::filesystem::canonical(file.has_parent_path() ? file.parent_path() : ".", error);
  return error ? path : (folder / file.filename()).string();
}

}  // namespace

class Journal::File {
 public:
  static absl::StatusOr<std::unique_ptr<File>> Open(const std::string& given, const JournalOptions& options) {
    const std::string path = Resolved(given);
    auto lock = FileLock::Acquire(path);
    if (!lock.ok()) return lock.status();
    std::unique_ptr<File> file(new File(path, *std::move(lock)));
    if (absl::Status status = file->Load(options); !status.ok()) return Damaged(path, status);
    return file;
  }

  absl::Status Write(const Changes& changes) {
    if (absl::Status status = CheckWritable(changes); !status.ok()) return status;
    uint64_t total = 0;
    const absl::Status status = Transact(changes, total);
    if (!status.ok()) {
      // Where the transaction is gone already, or the disk is, this changes nothing: the next BEGIN will tell.
      if (database_->InTransaction()) database_->Run("ROLLBACK").IgnoreError();
      return status;
    }
    content_.tables.Apply(changes);
    content_.total = total;
    return absl::OkStatus();
  }

  const Tables& tables() const { return content_.tables; }
  const std::string& path() const { return path_; }

 private:
  File(std::string path, FileLock lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  absl::Status Load(const JournalOptions& options) {
    if (absl::Status status = PrepareFile(path_); !status.ok()) return status;
    auto database = Database::Open(path_, options.vfs);
    if (!database.ok()) return database.status();
    database_ = *std::move(database);
    if (absl::Status status = SetUp(*database_); !status.ok()) return status;
    if (absl::Status status = CheckStructure(*database_); !status.ok()) return status;
    if (absl::Status status = BringUpToDate(*database_); !status.ok()) return status;
    auto sheets = Sheets::Of(*database_);
    if (!sheets.ok()) return sheets.status();
    sheets_ = *std::move(sheets);
    auto content = ReadContent(*sheets_);
    if (!content.ok()) return content.status();
    content_ = *std::move(content);
    return absl::OkStatus();
  }

  absl::Status Transact(const Changes& changes, uint64_t& total) {
    if (absl::Status status = database_->Run("BEGIN IMMEDIATE"); !status.ok()) return status;
    if (absl::Status status = PutChanges(*sheets_, changes, content_, total); !status.ok()) return status;
    return database_->Run("COMMIT");
  }

  const std::string path_;
  const FileLock lock_;  // given back last
  std::unique_ptr<Database> database_;
  std::unique_ptr<Sheets> sheets_;
  Content content_;
};

absl::StatusOr<std::unique_ptr<Journal>> Journal::Open(const std::string& path, const JournalOptions& options) {
  auto file = File::Open(path, options);
  if (!file.ok()) return file.status();
  return std::unique_ptr<Journal>(new Journal(*std::move(file)));
}

Journal::Journal(std::unique_ptr<File> file) : file_(std::move(file)) {}
Journal::~Journal() = default;

absl::Status Journal::Write(const Changes& changes) { return file_->Write(changes); }
const Tables& Journal::tables() const { return file_->tables(); }
const std::string& Journal::path() const { return file_->path(); }

}  // namespace filigree::coordinator
